package handlers_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// The answer that is kept for a key does not outlive its message's text, and is for those who may see it.
func TestAKeptAnswerGoesWithItsMessage(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob := n.user("ann"), n.user("bob")
	ops := ann.general(t, "ops", "bob").Channel.ID
	path := "/api/channels/" + ops + "/messages"
	again := func(u *user, key string) answer {
		t.Helper()
		a, err := u.do("POST", path, body{"content": "first " + key}, "Idempotency-Key", key)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	edited := ann.twice(t, path, "edited", body{"content": "first edited"})
	ann.edits(t, messageOf(t, edited), "second")
	if a := again(ann, "edited"); a.status != 201 || strings.Contains(a.String(), "first edited") || !strings.Contains(a.String(), `"second"`) {
		t.Errorf("after an edit: got %v, want the second text", a)
	}
	deleted := ann.twice(t, path, "deleted", body{"content": "first deleted"})
	ann.deletes(t, messageOf(t, deleted))
	if a := again(ann, "deleted"); a.status != 201 || strings.Contains(a.String(), "first deleted") || !strings.Contains(a.String(), `"deleted"`) {
		t.Errorf("after the deletion: got %v, want no text", a)
	}
	if got := n.count(t, `SELECT count(*) FROM idempotency_keys WHERE convert_from(answer, 'UTF8') LIKE '%first%'`); got != 0 {
		t.Errorf("got %d kept answers with a text that is gone", got)
	}
	bob.twice(t, path, "bob's", body{"content": "first bob's"})
	call[map[string]any](t, bob, 200, "POST", "/api/channels/"+ops+"/leave", nil)
	if a := again(bob, "bob's"); a.status != 403 {
		t.Errorf("of one who has left: got %v, want 403", a)
	}
}

// messageOf is the id of the message that a post was answered with.
func messageOf(t *testing.T, a answer) string {
	t.Helper()
	var post struct {
		Message struct {
			ID string `json:"id"`
		} `json:"message"`
	}
	if err := json.Unmarshal(a.body, &post); err != nil {
		t.Fatal(err)
	}
	return post.Message.ID
}

func TestWhatDoesNotGoTogetherIsRefused(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob := n.user("ann"), n.user("bob")
	work := "/api/channels/" + ann.makes(t, "work", []string{"bob"}, nil).Channel.ID
	ann.wantRefused(t, 422, "invalid", "POST", work+"/messages", body{"content": "/pass", "replyTo": "01a20151-1514-7832-9472-5a38752db423"})
	ann.wantRefused(t, 422, "invalid", "POST", work+"/turn", body{"action": "give", "userId": "a\x00b"})
	dm := call[created](t, ann, 201, "POST", "/api/channels", body{"guildId": "g1", "xType": "dm", "memberUserIds": []string{"bob"}}).Channel.ID
	message := bob.says(t, dm, "bob's own").Message.ID
	ann.wantRefused(t, 403, "not_author", "DELETE", "/api/messages/"+message, nil)
}
