package nodetest

import (
	"strconv"
	"strings"
	"testing"
)

// These are the JSON bodies as a client sees them. They do not use the types of the server.

// A Channel is a channel in an answer.
type Channel struct {
	ID         string `json:"id"`
	GuildID    string `json:"guildId"`
	Name       string `json:"name"`
	XType      string `json:"xType"`
	Private    bool   `json:"private"`
	History    string `json:"history"`
	CreatedBy  string `json:"createdBy"`
	CreatedAt  string `json:"createdAt"`
	ArchivedAt string `json:"archivedAt"`
	LoopLimit  int    `json:"loopLimit"`
	HumanWakes string `json:"humanWakes"`
	AgentWakes string `json:"agentWakes"`
}

// A Message is a message as it was posted.
type Message struct {
	ID             string   `json:"id"`
	ChannelID      string   `json:"channelId"`
	GuildID        string   `json:"guildId"`
	XType          string   `json:"xType"`
	AuthorUserID   string   `json:"authorUserId"`
	AuthorKind     string   `json:"authorKind"`
	AuthorName     string   `json:"authorName,omitempty"`
	ReplyToUserID  string   `json:"replyToUserId,omitempty"`
	Content        string   `json:"content"`
	MentionUserIDs []string `json:"mentionUserIds"`
	ReplyTo        string   `json:"replyTo"`
	CreatedAt      string   `json:"createdAt"`
	Wakeup         *bool    `json:"wakeup"` // in a history
	WakeReason     string   `json:"wakeReason"`
}

// A Heard message is a message on a stream.
type Heard struct {
	Message
	Wakeup     bool   `json:"wakeup"`
	WakeReason string `json:"wakeReason"`
}

// A Membership is the data of events about members.
type Membership struct {
	ChannelID  string `json:"channelId"`
	UserID     string `json:"userId"`
	XType      string `json:"xType"`
	OccurredAt string `json:"occurredAt"`
	GuildID    string `json:"guildId"`
	Name       string `json:"name"`
}

// A ReadyData is the data of stream.ready and stream.reset.
type ReadyData struct {
	Cursor   string     `json:"cursor"`
	UserID   string     `json:"userId"`
	Reason   string     `json:"reason"`
	Resumed  bool       `json:"resumed"`
	Channels *[]Channel `json:"channels"`
}

// A Created is the answer to the creation of a channel.
type Created struct {
	Channel Channel `json:"channel"`
	Cursor  string  `json:"cursor"`
}

// A Changed is the answer to a change of members.
type Changed struct {
	Changed bool   `json:"changed"`
	Cursor  string `json:"cursor"`
}

// A Wakeup is a user whom a message wakes.
type Wakeup struct {
	UserID string `json:"userId"`
	Reason string `json:"reason"`
}

// A Posted is the answer to a post.
type Posted struct {
	Message     Message  `json:"message"`
	Cursor      string   `json:"cursor"`
	Wakeups     []Wakeup `json:"wakeups"`
	WakeupCount int      `json:"wakeupCount"`
	Hints       []Hint   `json:"hints"`
}

// A Member is a member in a list.
type Member struct {
	UserID   string `json:"userId"`
	JoinedAt string `json:"joinedAt"`
	Kind     string `json:"authorKind"`
	Name     string `json:"authorName"`
}

// A Roomy is a channel with its members.
type Roomy struct {
	Channel     Channel    `json:"channel"`
	Members     []Member   `json:"members"`
	MemberCount int        `json:"memberCount"`
	Turn        *turnState `json:"turn"`
	WakeUserIDs []string   `json:"wakeUserIds"`
}

// A List is a page of a list.
type List[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"`
}

// A SyncData is the answer of /api/sync.
type SyncData struct {
	Cursor   string    `json:"cursor"`
	UserID   string    `json:"userId"`
	Channels []Channel `json:"channels"`
}

// A NewChannel is the body of a request that creates a channel.
type NewChannel struct {
	GuildID string   `json:"guildId"`
	Name    string   `json:"name,omitempty"`
	XType   string   `json:"xType"`
	Members []string `json:"memberUserIds,omitempty"`
	Private bool     `json:"private,omitempty"`
	History string   `json:"history,omitempty"`
}

// A Body is the JSON object that a request sends.
type Body map[string]any

// Create creates a channel.
func (u *User) Create(t *testing.T, c NewChannel) Created {
	t.Helper()
	return Call[Created](t, u, 201, "POST", "/api/channels", c)
}

// General creates a channel of the x-type general.
func (u *User) General(t *testing.T, name string, members ...string) Created {
	t.Helper()
	return u.Create(t, NewChannel{GuildID: "g1", Name: name, XType: "general", Members: members})
}

// Post posts a message.
func (u *User) Post(t *testing.T, channel, content string) Posted {
	t.Helper()
	return Call[Posted](t, u, 201, "POST", "/api/channels/"+channel+"/messages", Body{"content": content})
}

// Join joins a channel.
func (u *User) Join(t *testing.T, channel string) Changed {
	t.Helper()
	return Call[Changed](t, u, 200, "POST", "/api/channels/"+channel+"/join", nil)
}

// Leave leaves a channel.
func (u *User) Leave(t *testing.T, channel string) Changed {
	t.Helper()
	return Call[Changed](t, u, 200, "POST", "/api/channels/"+channel+"/leave", nil)
}

// Add adds another user to a channel.
func (u *User) Add(t *testing.T, channel, other string) Changed {
	t.Helper()
	return Call[Changed](t, u, 200, "PUT", "/api/channels/"+channel+"/members/"+other, nil)
}

// Remove removes another user from a channel.
func (u *User) Remove(t *testing.T, channel, other string) Changed {
	t.Helper()
	return Call[Changed](t, u, 200, "DELETE", "/api/channels/"+channel+"/members/"+other, nil)
}

// History returns the contents of the messages of a channel, the oldest first.
func (u *User) History(t *testing.T, channel string) []string {
	t.Helper()
	page := Call[List[Message]](t, u, 200, "GET", "/api/channels/"+channel+"/messages?limit=200", nil)
	contents := []string{}
	for _, m := range page.Items {
		contents = append([]string{m.Content}, contents...)
	}
	return contents
}

// Everything reads all pages of a list.
func Everything[T any](t *testing.T, u *User, path, param string) (items []T) {
	t.Helper()
	after := ""
	for {
		page := Call[List[T]](t, u, 200, "GET", path+after, nil)
		items = append(items, page.Items...)
		if page.Next == nil {
			return items
		}
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		after = sep + param + "=" + *page.Next
	}
}

// Seq returns the number in a cursor, or 0 if there is none.
func Seq(cursor string) int64 {
	_, digits, _ := strings.Cut(cursor, ".")
	n, _ := strconv.ParseInt(digits, 10, 64)
	return n
}

type turnState struct {
	UserID *string `json:"userId"`
	Paused bool    `json:"paused"`
}

// UUID7 is the id of nothing.
const UUID7 = "01a20138-0000-7000-8000-000000000000"

// Sync reads the channels of the user.
func (u *User) Sync(t *testing.T) SyncData {
	t.Helper()
	return Call[SyncData](t, u, 200, "GET", "/api/sync", nil)
}

// A MeData is the answer of /api/me.
type MeData struct {
	ListedUser
	GuildIDs  []string `json:"guildIds"`
	ExpiresAt string   `json:"expiresAt"`
}

// A ListedUser is a user in a list.
type ListedUser struct {
	UserID      string `json:"userId"`
	Kind        string `json:"kind"`
	DisplayName string `json:"displayName"`
}
