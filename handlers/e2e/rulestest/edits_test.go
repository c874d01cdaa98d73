package rulestest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

// raws returns the frames of a replay up to an id, and their bytes.
func raws(
	t *testing.T, u *nodetest.User, at *nodetest.Node, query, from, to string,
) (frames []ssetest.Frame, bytes string) {
	t.Helper()
	frames = u.At(at).Resume(t, nodetest.Raw, query, from).Until(t, to)
	for _, f := range frames {
		bytes += f.Raw
	}
	return frames, bytes
}

// Those users hear an edit who heard the message and were in the channel ever since.
func TestEditsGoToThoseWhoHeardTheMessage(t *testing.T) {
	dbtest.Long(t) // TestAnEditKeepsTheFacts is fast
	t.Parallel()
	all := []string{"message.created", "message.updated", "message.deleted"}
	for xType, want := range map[string]map[string][]string{ // of whom hears anything of it
		"triage": {
			"ann?echo=true": all, "duty": all, "duty?echo=true": all, "duty?wakeup=true": all[:1], "adm": all,
			"adm?echo=true": all,
			"back":          all[:1], "back?echo=true": all[:1], "back?wakeup=true": all[:1],
		},
		"custom": {
			"ann?echo=true": all, "duty": all, "duty?echo=true": all, "duty?wakeup=true": all[:1], "pam": all,
			"pam?echo=true": all,
			"back":          all[:1], "back?echo=true": all[:1],
		},
	} {
		t.Run(xType, func(t *testing.T) {
			t.Parallel()
			n := nodetest.Start(t, nodetest.Setup{Admin: "adm"})
			ann, pam := n.User("ann"), n.User("pam")
			names := []string{"ann", "pam", "duty", "adm", "late", "back"}
			fence := n.Fence(t, names...)
			id := pam.Makes(t, xType, []string{"ann", "back", "duty"}, []string{"duty"}).Channel.ID
			from := fence()
			listen := func(at *nodetest.Node) map[string]*nodetest.Stream {
				listening := map[string]*nodetest.Stream{}
				for _, name := range names {
					for _, query := range queries {
						listening[name+query] = n.User(name).At(at).Resume(t, nodetest.Raw, query, from)
					}
				}
				return listening
			}
			live := listen(n)
			m := ann.Says(t, id, "first words <@back>")
			n.User("late").Join(t, id)
			n.User("back").Leave(t, id)
			n.User("back").Join(t, id)
			n.Settle(t) // what is read later shows the text as it is by then
			edited := ann.Edits(t, m.Message.ID, "second words")
			n.Settle(t)
			deleted := pam.Deletes(t, m.Message.ID)
			last := fence()
			if edited.Message.EditedAt == "" || edited.Message.Content != "second words" ||
				!deleted.Message.Deleted || deleted.Message.Content != "" {
				t.Errorf("got %+v and %+v, want the message as it then is", edited.Message, deleted.Message)
			}
			compare := func(when string, listening map[string]*nodetest.Stream, texts ...string) {
				t.Helper()
				for key, s := range listening {
					wantEdits(t, when+", "+key, nodetest.InChannel(s.Until(t, last), id), want[key], texts)
				}
			}
			compare("live", live, "first words <@back>", "second words", "")
			for _, r := range n.Replays(t) {
				compare(r.Name, listen(r.N), "", "", "")
			}
		})
	}
}

// wantEdits compares what was heard of one message with the kinds of its events, and with the text that each
// is to have; "" is that of one that is deleted.
func wantEdits(t *testing.T, who string, frames []ssetest.Frame, want, texts []string) {
	t.Helper()
	got, told := []string{}, ""
	for _, f := range frames {
		if !strings.HasPrefix(f.Event, "message.") {
			continue
		}
		h := nodetest.Data[nodetest.FullHeard](t, f, f.Event)
		if text := texts[len(got)]; h.Content != text || h.Deleted != (text == "") {
			t.Errorf("%s: got %s, want the text %q", who, f.Raw, text)
		}
		if f.Event != "message.created" && h.Wakeup {
			t.Errorf("%s: got %s, want that it wakes nobody", who, f.Raw)
		}
		got, told = append(got, f.Event), told+f.Raw
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
	dbtest.Long(t) // TestFormerMembersDoNotSeeNewerTexts is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	fence := n.Fence(t, "ann", "bob", "carol")
	// Two nodes replay what happened in all the channels.
	checks := map[string]func(t *testing.T, r nodetest.Replay){}
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
		id := ann.General(t, "ops", "bob", "carol").Channel.ID
		from := fence()
		m := ann.Says(t, id, "first").Message
		change := func(edits []string) {
			for _, e := range edits {
				if e == "" {
					ann.Deletes(t, m.ID)
				} else {
					ann.Edits(t, m.ID, e)
				}
			}
		}
		change(tt.before)
		bob.Leave(t, id)
		change(tt.after)
		if tt.back {
			bob.Join(t, id)
		}
		last := fence()
		if tt.back {
			page := nodetest.Call[nodetest.List[nodetest.FullMessage]](t, bob, 200, "GET",
				"/api/channels/"+id+"/messages", nil)
			if len(page.Items) != 1 || page.Items[0].Redacted != tt.redacted ||
				tt.redacted && page.Items[0].Content != "" {
				t.Errorf("%s: history: got %+v, want it redacted: %v", name, page.Items, tt.redacted)
			}
		}
		checks[name] = func(t *testing.T, r nodetest.Replay) {
			frames, bytes := raws(t, bob, r.N, "", from, last)
			if strings.Contains(bytes, "later") {
				t.Errorf("%s: got %s, want nothing that was written after he left", r.Name, bytes)
			}
			if got := strings.Count(bytes, "event: message."); got != 2+len(tt.before) {
				t.Errorf("%s: got %d frames of messages, want the message, its edits up to his leave, "+
					"and the end", r.Name, got)
			}
			for _, f := range nodetest.InChannel(frames, id) {
				if !strings.HasPrefix(f.Event, "message.") {
					continue
				}
				if h := nodetest.Data[nodetest.FullHeard](t, f, f.Event); h.Redacted != tt.redacted ||
					tt.redacted && h.Content != "" {
					t.Errorf("%s: got %s, want it redacted: %v", r.Name, f.Raw, tt.redacted)
				}
			}
			// Whom it does not concern is shown the text all the same, whoever was first to ask.
			_, bytes = raws(t, n.User("carol"), r.N, "", from, last)
			if strings.Contains(bytes, `"redacted"`) {
				t.Errorf("%s: got %s for a member, want nothing redacted", r.Name, bytes)
			}
		}
	}
	for _, r := range n.Replays(t) {
		for name, check := range checks {
			t.Run(name+", "+r.Name, func(t *testing.T) { check(t, r) })
		}
	}
}

// The log's readers may see a message only when it has been edited already, for instance because an earlier
// number was still undecided. Who had left before the edit gets none of it, live too.
func TestFormerMembersDoNotSeeNewerTexts(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	fence := n.Fence(t, "ann", "bob", "carol")
	id := ann.General(t, "ops", "bob", "carol").Channel.ID
	from := fence()
	s, other := bob.Resume(t, nodetest.Raw, "", from), n.User("carol").Resume(t, nodetest.Raw, "", from)
	n.HeldBack(t, func() {
		m := ann.Says(t, id, "first").Message
		bob.Leave(t, id)
		ann.Edits(t, m.ID, "later")
	})
	last := fence()
	for name, frames := range map[string][]ssetest.Frame{
		"live": s.Until(t, last),
		"ring": bob.Resume(t, nodetest.Raw, "", from).Until(t, last),
	} {
		for _, f := range nodetest.InChannel(frames, id) {
			if strings.Contains(f.Data, "later") {
				t.Errorf("%s: got %s, want nothing that was written after he left", name, f.Raw)
			}
		}
	}
	for _, f := range nodetest.InChannel(other.Until(t, last), id) {
		if strings.HasPrefix(f.Event, "message.") &&
			nodetest.Data[nodetest.FullHeard](t, f, f.Event).Content != "later" {
			t.Errorf("got %s for a member, want the text", f.Raw)
		}
	}
}
