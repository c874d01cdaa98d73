package handlers_test

import (
	"slices"
	"strings"
	"testing"
)

// A FullMessage is a message with all that it may have beside what it was posted with.
type FullMessage struct {
	Message
	EditedAt   string `json:"editedAt"`
	Deleted    bool   `json:"deleted"`
	Redacted   bool   `json:"redacted"`
	TurnUserID string `json:"turnUserId"`
}

type fullHeard struct {
	FullMessage
	Wakeup     bool   `json:"wakeup"`
	WakeReason string `json:"wakeReason"`
}

type fullPost struct {
	Message     FullMessage `json:"message"`
	Cursor      string      `json:"cursor"`
	Wakeups     []wakeup    `json:"wakeups"`
	WakeupCount int         `json:"wakeupCount"`
	Hints       []hint      `json:"hints"`
}

type hint struct {
	Code    string   `json:"code"`
	Detail  string   `json:"detail"`
	UserIDs []string `json:"userIds"`
}

type changedMessage struct {
	Message FullMessage `json:"message"`
	Cursor  string      `json:"cursor"`
}

type turnMoved struct {
	Turn   turnState `json:"turn"`
	Cursor string    `json:"cursor"`
}

type turnChanged struct {
	membership
	Reason string `json:"reason"`
}

type commandDone struct {
	Command string     `json:"command"`
	Help    string     `json:"help"`
	Turn    *turnState `json:"turn"`
	Cursor  string     `json:"cursor"`
}

type wakeList struct {
	UserIDs []string `json:"userIds"`
	Cursor  string   `json:"cursor"`
}

type explained struct {
	UserID  string `json:"userId"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
	State   string `json:"state"` // of a user who was woken
	Since   string `json:"since"`
	Status  string `json:"status"`
	Note    string `json:"note"`
}

type refusal struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	RequestID string `json:"requestId"`
	Errors    []struct {
		Field  string `json:"field"`
		Detail string `json:"detail"`
	} `json:"errors"`
}

// makes creates a channel of an x-type.
func (u *user) makes(t *testing.T, xType string, members, wake []string) created {
	t.Helper()
	b := body{"guildId": "g1", "xType": xType}
	if members != nil {
		b["memberUserIds"] = members
	}
	if xType != "dm" {
		b["name"] = xType
	}
	if wake != nil {
		b["wakeUserIds"] = wake
	}
	return call[created](t, u, 201, "POST", "/api/channels", b)
}

func (u *user) says(t *testing.T, channel, content string) fullPost {
	t.Helper()
	return call[fullPost](t, u, 201, "POST", "/api/channels/"+channel+"/messages", body{"content": content})
}

func (u *user) edits(t *testing.T, message, content string) changedMessage {
	t.Helper()
	return call[changedMessage](t, u, 200, "PATCH", "/api/messages/"+message, body{"content": content})
}

func (u *user) deletes(t *testing.T, message string) changedMessage {
	t.Helper()
	return call[changedMessage](t, u, 200, "DELETE", "/api/messages/"+message, nil)
}

func (u *user) turns(t *testing.T, channel string, b body) turnMoved {
	t.Helper()
	return call[turnMoved](t, u, 200, "POST", "/api/channels/"+channel+"/turn", b)
}

// turn is who holds a channel's turn, "-" for nobody.
func (u *user) turn(t *testing.T, channel string) string {
	t.Helper()
	got := call[struct {
		Turn turnState `json:"turn"`
	}](t, u, 200, "GET", "/api/channels/"+channel+"/turn", nil)
	return got.Turn.String()
}

func (s turnState) String() string {
	holder := "-"
	if s.UserID != nil {
		holder = *s.UserID
	}
	if s.Paused {
		holder += " paused"
	}
	return holder
}

func (u *user) wakes(t *testing.T, channel string, users ...string) wakeList {
	t.Helper()
	return call[wakeList](t, u, 200, "PUT", "/api/channels/"+channel+"/wake", body{"userIds": append([]string{}, users...)})
}

// deliveries are a message's, as "outcome reason" by user.
func (u *user) deliveries(t *testing.T, message string) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, d := range everything[explained](t, u, "/api/messages/"+message+"/deliveries?limit=3", "after") {
		if _, twice := got[d.UserID]; twice {
			t.Errorf("%s is explained twice", d.UserID)
		}
		got[d.UserID] = d.Outcome + " " + d.Reason
	}
	return got
}

// wantRefused sends a request that must be refused with a status and a code.
func (u *user) wantRefused(t *testing.T, status int, code, method, path string, b any, headers ...string) refusal {
	t.Helper()
	a, err := u.do(method, path, b, headers...)
	if err != nil {
		t.Fatal(err)
	}
	var p refusal
	if err := strictly(a.body, &p); err != nil || a.status != status || p.Status != status || p.Code != code {
		t.Errorf("%s: %s %s %v: got %v and error %v, want %d %s", u.id, method, path, b, a, err, status, code)
	}
	return p
}

// here are the frames of one channel.
func here(frames []frame, channel string) []frame {
	return slices.DeleteFunc(slices.Clone(frames), func(f frame) bool { return !strings.Contains(f.data, `"channelId":"`+channel+`"`) })
}

// A channel in which everyone is has the last word: what has not come before it does not come.
func (n *node) fence(t *testing.T, everyone ...string) (last func() string) {
	t.Helper()
	porter := n.user("porter")
	id := porter.general(t, "fence", everyone...).Channel.ID
	return func() string { return porter.post(t, id, "the end").Cursor }
}

// A replay is a way in which a stream comes to what was said before it was opened.
type replay struct {
	name string
	n    *node
}

// replays are from the node's ring, and from Postgres: by a node whose ring begins now.
func (n *node) replays(t *testing.T) []replay {
	t.Helper()
	n.settle(t)
	s := n.setup
	s.sendBuffer = 0
	other := start(t, s)
	return []replay{{"ring", n}, {"postgres", other}}
}
