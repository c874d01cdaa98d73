package nodetest

import (
	"slices"
	"strings"
	"testing"

	"fabric-guild/events/ssetest"
)

// A FullMessage is a message with the fields that it may get after the post.
type FullMessage struct {
	Message
	EditedAt   string `json:"editedAt"`
	Deleted    bool   `json:"deleted"`
	Redacted   bool   `json:"redacted"`
	TurnUserID string `json:"turnUserId"`
}

// A FullHeard is a FullMessage on a stream.
type FullHeard struct {
	FullMessage
	Wakeup     bool   `json:"wakeup"`
	WakeReason string `json:"wakeReason"`
}

// A FullPost is the answer to a post, with a FullMessage.
type FullPost struct {
	Message     FullMessage `json:"message"`
	Cursor      string      `json:"cursor"`
	Wakeups     []Wakeup    `json:"wakeups"`
	WakeupCount int         `json:"wakeupCount"`
	Hints       []Hint      `json:"hints"`
}

// A Hint is advice in the answer to a post.
type Hint struct {
	Code    string   `json:"code"`
	Detail  string   `json:"detail"`
	UserIDs []string `json:"userIds"`
}

type changedMessage struct {
	Message FullMessage `json:"message"`
	Cursor  string      `json:"cursor"`
}

// A TurnMoved is the answer to a change of the turn.
type TurnMoved struct {
	Turn   turnState `json:"turn"`
	Cursor string    `json:"cursor"`
}

// A TurnChanged is the data of the event turn.changed.
type TurnChanged struct {
	Membership
	Reason string `json:"reason"`
}

// A CommandDone is the answer to a slash command.
type CommandDone struct {
	Command string     `json:"command"`
	Help    string     `json:"help"`
	Turn    *turnState `json:"turn"`
	Cursor  string     `json:"cursor"`
}

// A WakeList is the answer to a change of the wake list.
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

// Makes creates a channel of an x-type, with members and a wake list.
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

// Says posts a message, like Post, and returns all fields.
func (u *User) Says(t *testing.T, channel, content string) FullPost {
	t.Helper()
	return Call[FullPost](t, u, 201, "POST", "/api/channels/"+channel+"/messages", Body{"content": content})
}

// Edits changes the text of a message.
func (u *User) Edits(t *testing.T, message, content string) changedMessage {
	t.Helper()
	return Call[changedMessage](t, u, 200, "PATCH", "/api/messages/"+message, Body{"content": content})
}

// Deletes deletes a message.
func (u *User) Deletes(t *testing.T, message string) changedMessage {
	t.Helper()
	return Call[changedMessage](t, u, 200, "DELETE", "/api/messages/"+message, nil)
}

// Turns changes the turn of a channel.
func (u *User) Turns(t *testing.T, channel string, b Body) TurnMoved {
	t.Helper()
	return Call[TurnMoved](t, u, 200, "POST", "/api/channels/"+channel+"/turn", b)
}

// Turn returns the user who has the turn in a channel. It is "-" for nobody.
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

// Wakes sets the wake list of a channel.
func (u *User) Wakes(t *testing.T, channel string, users ...string) WakeList {
	t.Helper()
	return Call[WakeList](t, u, 200, "PUT", "/api/channels/"+channel+"/wake",
		Body{"userIds": append([]string{}, users...)})
}

// Deliveries returns the deliveries of a message, as "outcome reason" for each user.
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

// WantRefused is like Refused, and also checks that the body has only the fields of a refusal.
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

// InChannel returns the frames of one channel.
func InChannel(frames []ssetest.Frame, channel string) []ssetest.Frame {
	return slices.DeleteFunc(slices.Clone(frames),
		func(f ssetest.Frame) bool { return !strings.Contains(f.Data, `"channelId":"`+channel+`"`) })
}

// Fence creates a channel with everyone in it. Each call of last posts there and returns the cursor. An event
// that a stream has not shown before this cursor will not come any more.
func (n *Node) Fence(t *testing.T, everyone ...string) (last func() string) {
	t.Helper()
	porter := n.User("porter")
	id := porter.General(t, "fence", everyone...).Channel.ID
	return func() string { return porter.Post(t, id, "the end").Cursor }
}

// A Replay is a source of the events from before a stream was opened.
type Replay struct {
	Name string
	N    *Node
}

// Replays returns the node, which replays from its ring, and a new node. The ring of the new node is empty,
// so this node replays from Postgres.
func (n *Node) Replays(t *testing.T) []Replay {
	t.Helper()
	n.Settle(t)
	s := n.Setup
	s.SendBuffer = 0
	other := Start(t, s)
	return []Replay{{"ring", n}, {"postgres", other}}
}
