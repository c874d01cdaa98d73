package handlers_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// raws are the frames of a stream's replay up to an id, as they came.
func (u *user) raws(t *testing.T, at *node, query, from, to string) (frames []frame, bytes string) {
	t.Helper()
	frames = u.at(at).resume(t, raw, query, from).until(t, to)
	for _, f := range frames {
		bytes += f.raw
	}
	return frames, bytes
}

// Who hears an edit: those who heard the message and were in the channel ever since.
func TestEditsGoToThoseWhoHeardTheMessage(t *testing.T) {
	t.Parallel()
	all := []string{"message.created", "message.updated", "message.deleted"}
	for xType, want := range map[string]map[string][]string{ // of whom hears anything of it
		"triage": {
			"ann?echo=true": all, "duty": all, "duty?echo=true": all, "duty?wakeup=true": all[:1], "adm": all, "adm?echo=true": all,
			"back": all[:1], "back?echo=true": all[:1], "back?wakeup=true": all[:1],
		},
		"custom": {
			"ann?echo=true": all, "duty": all, "duty?echo=true": all, "duty?wakeup=true": all[:1], "pam": all, "pam?echo=true": all,
			"back": all[:1], "back?echo=true": all[:1],
		},
	} {
		t.Run(xType, func(t *testing.T) {
			t.Parallel()
			n := start(t, setup{admin: "adm"})
			ann, pam := n.user("ann"), n.user("pam")
			names := []string{"ann", "pam", "duty", "adm", "late", "back"}
			fence := n.fence(t, names...)
			id := pam.makes(t, xType, []string{"ann", "back", "duty"}, []string{"duty"}).Channel.ID
			from := fence()
			listen := func(at *node) map[string]*stream {
				listening := map[string]*stream{}
				for _, name := range names {
					for _, query := range queries {
						listening[name+query] = n.user(name).at(at).resume(t, raw, query, from)
					}
				}
				return listening
			}
			live := listen(n)
			m := ann.says(t, id, "first words <@back>")
			n.user("late").join(t, id)
			n.user("back").leave(t, id)
			n.user("back").join(t, id)
			n.settle(t) // what is read later shows the text as it is by then
			edited := ann.edits(t, m.Message.ID, "second words")
			n.settle(t)
			deleted := pam.deletes(t, m.Message.ID)
			last := fence()
			if edited.Message.EditedAt == "" || edited.Message.Content != "second words" || !deleted.Message.Deleted || deleted.Message.Content != "" {
				t.Errorf("got %+v and %+v, want the message as it then is", edited.Message, deleted.Message)
			}
			compare := func(when string, listening map[string]*stream, texts ...string) {
				t.Helper()
				for key, s := range listening {
					wantEdits(t, when+", "+key, here(s.until(t, last), id), want[key], texts)
				}
			}
			compare("live", live, "first words <@back>", "second words", "")
			for _, r := range n.replays(t) {
				compare(r.name, listen(r.n), "", "", "")
			}
		})
	}
}

// wantEdits compares what was heard of one message with the kinds of its events, and with the text that each
// is to have; "" is that of one that is deleted.
func wantEdits(t *testing.T, who string, frames []frame, want, texts []string) {
	t.Helper()
	got, told := []string{}, ""
	for _, f := range frames {
		if !strings.HasPrefix(f.event, "message.") {
			continue
		}
		h := data[fullHeard](t, f, f.event)
		if text := texts[len(got)]; h.Content != text || h.Deleted != (text == "") {
			t.Errorf("%s: got %s, want the text %q", who, f.raw, text)
		}
		if f.event != "message.created" && h.Wakeup {
			t.Errorf("%s: got %s, want that it wakes nobody", who, f.raw)
		}
		got, told = append(got, f.event), told+f.raw
	}
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", who, diff)
	}
	if texts[0] == "" && strings.Contains(told, "words") {
		t.Errorf("%s: got %s, want nothing of what was said", who, told)
	}
}

// A reader gets nothing that was written after they had left: not in the message, and not in an edit that
// they did hear.
func TestAReaderWhoHasLeftSeesNoLaterText(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob := n.user("ann"), n.user("bob")
	fence := n.fence(t, "ann", "bob", "carol")
	for name, tt := range map[string]struct {
		before, after []string // the edits before and after bob leaves; "" deletes
		back          bool     // he comes again
		redacted      bool
	}{
		"nothing changes":               {nil, nil, false, false},
		"an edit before":                {[]string{"early"}, nil, false, false},
		"an edit after":                 {nil, []string{"later"}, false, true},
		"an edit before and one after":  {[]string{"early"}, []string{"later"}, false, true},
		"and he comes back":             {[]string{"early"}, []string{"later"}, true, true},
		"two before and a deletion":     {[]string{"early", "early 2"}, []string{""}, true, true},
		"a deletion before":             {[]string{""}, nil, true, false},
		"an edit after and a deletion":  {nil, []string{"later", ""}, false, true},
		"an edit between the two times": {nil, []string{"later"}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			id := ann.general(t, "ops", "bob", "carol").Channel.ID
			from := fence()
			m := ann.says(t, id, "first").Message
			change := func(edits []string) {
				for _, e := range edits {
					if e == "" {
						ann.deletes(t, m.ID)
					} else {
						ann.edits(t, m.ID, e)
						m.Content = e
					}
				}
			}
			change(tt.before)
			bob.leave(t, id)
			change(tt.after)
			if tt.back {
				bob.join(t, id)
			}
			last := fence()
			for _, r := range n.replays(t) {
				frames, bytes := bob.raws(t, r.n, "", from, last)
				if strings.Contains(bytes, "later") {
					t.Errorf("%s: got %s, want nothing that was written after he left", r.name, bytes)
				}
				if got := strings.Count(bytes, "event: message."); got != 2+len(tt.before) {
					t.Errorf("%s: got %d frames of messages, want the message, its edits up to his leave, and the end", r.name, got)
				}
				for _, f := range here(frames, id) {
					if !strings.HasPrefix(f.event, "message.") {
						continue
					}
					if h := data[fullHeard](t, f, f.event); h.Redacted != tt.redacted || tt.redacted && h.Content != "" {
						t.Errorf("%s: got %s, want it redacted: %v", r.name, f.raw, tt.redacted)
					}
				}
				// Whom it does not concern is shown the text all the same, whoever was first to ask.
				_, bytes = n.user("carol").raws(t, r.n, "", from, last)
				if strings.Contains(bytes, `"redacted"`) {
					t.Errorf("%s: got %s for a member, want nothing redacted", r.name, bytes)
				}
			}
			if tt.back {
				page := call[list[FullMessage]](t, bob, 200, "GET", "/api/channels/"+id+"/messages", nil)
				if len(page.Items) != 1 || page.Items[0].Redacted != tt.redacted || tt.redacted && page.Items[0].Content != "" {
					t.Errorf("history: got %+v, want it redacted: %v", page.Items, tt.redacted)
				}
			}
		})
	}
}

// The log's readers may see a message only when it has been edited already, for instance because an earlier
// number was still undecided. Who had left before the edit gets none of it, live too.
func TestFormerMembersDoNotSeeNewerTexts(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob := n.user("ann"), n.user("bob")
	fence := n.fence(t, "ann", "bob", "carol")
	id := ann.general(t, "ops", "bob", "carol").Channel.ID
	from := fence()
	s, other := bob.resume(t, raw, "", from), n.user("carol").resume(t, raw, "", from)
	n.heldBack(t, func() {
		m := ann.says(t, id, "first").Message
		bob.leave(t, id)
		ann.edits(t, m.ID, "later")
	})
	last := fence()
	for name, frames := range map[string][]frame{"live": s.until(t, last), "ring": bob.resume(t, raw, "", from).until(t, last)} {
		for _, f := range here(frames, id) {
			if strings.Contains(f.data, "later") {
				t.Errorf("%s: got %s, want nothing that was written after he left", name, f.raw)
			}
		}
	}
	for _, f := range here(other.until(t, last), id) {
		if strings.HasPrefix(f.event, "message.") && data[fullHeard](t, f, f.event).Content != "later" {
			t.Errorf("got %s for a member, want the text", f.raw)
		}
	}
}
