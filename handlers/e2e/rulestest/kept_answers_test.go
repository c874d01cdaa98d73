package rulestest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"fabric-guild/handlers/e2e/nodetest"
)

// The answer that is kept for a key does not outlive its message's text, and is for those who may see it.
func TestAKeptAnswerGoesWithItsMessage(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	ops := ann.General(t, "ops", "bob").Channel.ID
	path := "/api/channels/" + ops + "/messages"
	again := func(u *nodetest.User, key string) nodetest.Answer {
		t.Helper()
		a, err := u.Do("POST", path, nodetest.Body{"content": "first " + key}, "Idempotency-Key", key)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	edited := ann.Twice(t, path, "edited", nodetest.Body{"content": "first edited"})
	ann.Edits(t, messageOf(t, edited), "second")
	if a := again(ann, "edited"); a.Status != 201 || strings.Contains(a.String(), "first edited") ||
		!strings.Contains(a.String(), `"second"`) {
		t.Errorf("after an edit: got %v, want the second text", a)
	}
	deleted := ann.Twice(t, path, "deleted", nodetest.Body{"content": "first deleted"})
	ann.Deletes(t, messageOf(t, deleted))
	if a := again(ann, "deleted"); a.Status != 201 || strings.Contains(a.String(), "first deleted") ||
		!strings.Contains(a.String(), `"deleted"`) {
		t.Errorf("after the deletion: got %v, want no text", a)
	}
	if got := n.Count(
		t, `SELECT count(*) FROM idempotency_keys WHERE convert_from(answer, 'UTF8') LIKE '%first%'`,
	); got != 0 {
		t.Errorf("got %d kept answers with a text that is gone", got)
	}
	bob.Twice(t, path, "bob's", nodetest.Body{"content": "first bob's"})
	nodetest.Call[map[string]any](t, bob, 200, "POST", "/api/channels/"+ops+"/leave", nil)
	if a := again(bob, "bob's"); a.Status != 403 {
		t.Errorf("of one who has left: got %v, want 403", a)
	}
}

// messageOf returns the id of the message in the answer to a post.
func messageOf(t *testing.T, a nodetest.Answer) string {
	t.Helper()
	var post struct {
		Message struct {
			ID string `json:"id"`
		} `json:"message"`
	}
	if err := json.Unmarshal(a.Body, &post); err != nil {
		t.Fatal(err)
	}
	return post.Message.ID
}

func TestWhatDoesNotGoTogetherIsRefused(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	work := "/api/channels/" + ann.Makes(t, "work", []string{"bob"}, nil).Channel.ID
	ann.WantRefused(t, 422, "invalid", "POST", work+"/messages",
		nodetest.Body{"content": "/pass", "replyTo": "01a20151-1514-7832-9472-5a38752db423"})
	ann.WantRefused(t, 422, "invalid", "POST", work+"/turn",
		nodetest.Body{"action": "give", "userId": "a\x00b"})
	dm := nodetest.Call[nodetest.Created](t, ann, 201, "POST", "/api/channels",
		nodetest.Body{"guildId": "g1", "xType": "dm", "memberUserIds": []string{"bob"}}).Channel.ID
	message := bob.Says(t, dm, "bob's own").Message.ID
	ann.WantRefused(t, 403, "not_author", "DELETE", "/api/messages/"+message, nil)
}
