package nodetest

import (
	"slices"
	"strings"
	"testing"

	"fabric-guild/events/ssetest"
)

// A FullMessage is a message with all that it may have beside what it was posted with.
type FullMessage struct {
	Message
	EditedAt   string `json:"editedAt"`
	Deleted    bool   `json:"deleted"`
	Redacted   bool   `json:"redacted"`
	TurnUserID string `json:"turnUserId"`
}

type FullHeard struct {
	FullMessage
	Wakeup     bool   `json:"wakeup"`
	WakeReason string `json:"wakeReason"`
}

type FullPost struct {
	Message     FullMessage `json:"message"`
	Cursor      string      `json:"cursor"`
	Wakeups     []Wakeup    `json:"wakeups"`
	WakeupCount int         `json:"wakeupCount"`
	Hints       []Hint      `json:"hints"`
}

type Hint struct {
	Code    string   `json:"code"`
	Detail  string   `json:"detail"`
	UserIDs []string `json:"userIds"`
}

type changedMessage struct {
	Message FullMessage `json:"message"`
	Cursor  string      `json:"cursor"`
}

type TurnMoved struct {
	Turn   turnState `json:"turn"`
	Cursor string    `json:"cursor"`
}

type TurnChanged struct {
	Membership
	Reason string `json:"reason"`
}

type CommandDone struct {
	Command string     `json:"command"`
	Help    string     `json:"help"`
	Turn    *turnState `json:"turn"`
	Cursor  string     `json:"cursor"`
}

type WakeList struct {
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

// Makes creates a channel of an x-type.
func (u *User) Makes(t *testing.T, xType string, members, wake []string) Created {
	t.Helper()
	b := Body{"guildId": "g1", "xType": xType}
	if members != nil {
		b["memberUserIds"] = members
	}
	if xType != "dm" {
		b["name"] = xType
	}
	if wake != nil {
		b["wakeUserIds"] = wake
	}
	return Call[Created](t, u, 201, "POST", "/api/channels", b)
}

func (u *User) Says(t *testing.T, channel, content string) FullPost {
	t.Helper()
	return Call[FullPost](t, u, 201, "POST", "/api/channels/"+channel+"/messages", Body{"content": content})
}

func (u *User) Edits(t *testing.T, message, content string) changedMessage {
	t.Helper()
	return Call[changedMessage](t, u, 200, "PATCH", "/api/messages/"+message, Body{"content": content})
}

func (u *User) Deletes(t *testing.T, message string) changedMessage {
	t.Helper()
	return Call[changedMessage](t, u, 200, "DELETE", "/api/messages/"+message, nil)
}

func (u *User) Turns(t *testing.T, channel string, b Body) TurnMoved {
	t.Helper()
	return Call[TurnMoved](t, u, 200, "POST", "/api/channels/"+channel+"/turn", b)
}

// Turn is who holds a channel's turn, "-" for nobody.
func (u *User) Turn(t *testing.T, channel string) string {
	t.Helper()
	got := Call[struct {
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

func (u *User) Wakes(t *testing.T, channel string, users ...string) WakeList {
	t.Helper()
	return Call[WakeList](t, u, 200, "PUT", "/api/channels/"+channel+"/wake",
		Body{"userIds": append([]string{}, users...)})
}

// Deliveries are a message's, as "outcome reason" by user.
func (u *User) Deliveries(t *testing.T, message string) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, d := range Everything[explained](t, u, "/api/messages/"+message+"/deliveries?limit=3", "after") {
		if _, twice := got[d.UserID]; twice {
			t.Errorf("%s is explained twice", d.UserID)
		}
		got[d.UserID] = d.Outcome + " " + d.Reason
	}
	return got
}

// WantRefused sends a request that must be refused with a status and a code.
func (u *User) WantRefused(
	t *testing.T, status int, code, method, path string, b any, headers ...string,
) refusal {
	t.Helper()
	a, err := u.Do(method, path, b, headers...)
	if err != nil {
		t.Fatal(err)
	}
	var p refusal
	if err := Strictly(a.Body, &p); err != nil || a.Status != status || p.Status != status || p.Code != code {
		t.Errorf("%s: %s %s %v: got %v and error %v, want %d %s", u.ID, method, path, b, a, err, status, code)
	}
	return p
}

// InChannel are the frames of one channel.
func InChannel(frames []ssetest.Frame, channel string) []ssetest.Frame {
	return slices.DeleteFunc(slices.Clone(frames),
		func(f ssetest.Frame) bool { return !strings.Contains(f.Data, `"channelId":"`+channel+`"`) })
}

// A channel in which everyone is has the last word: what has not come before it does not come.
func (n *Node) Fence(t *testing.T, everyone ...string) (last func() string) {
	t.Helper()
	porter := n.User("porter")
	id := porter.General(t, "fence", everyone...).Channel.ID
	return func() string { return porter.Post(t, id, "the end").Cursor }
}

// A replay is a way in which a stream comes to what was said before it was opened.
type replay struct {
	Name string
	N    *Node
}

// Replays are from the node's ring, and from Postgres: by a node whose ring begins now.
func (n *Node) Replays(t *testing.T) []replay {
	t.Helper()
	n.Settle(t)
	s := n.Setup
	s.SendBuffer = 0
	other := Start(t, s)
	return []replay{{"ring", n}, {"postgres", other}}
}
