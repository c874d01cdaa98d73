package handlers_test

import (
	"strconv"
	"strings"
	"testing"
)

// The shapes of the wire as a client has them, apart from those of the server.

type channel struct {
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

// A heard message is one on a stream.
type heard struct {
	Message
	Wakeup     bool   `json:"wakeup"`
	WakeReason string `json:"wakeReason"`
}

type membership struct {
	ChannelID  string `json:"channelId"`
	UserID     string `json:"userId"`
	XType      string `json:"xType"`
	OccurredAt string `json:"occurredAt"`
	GuildID    string `json:"guildId"`
	Name       string `json:"name"`
}

type readyData struct {
	Cursor   string     `json:"cursor"`
	UserID   string     `json:"userId"`
	Reason   string     `json:"reason"`
	Resumed  bool       `json:"resumed"`
	Channels *[]channel `json:"channels"`
}

type created struct {
	Channel channel `json:"channel"`
	Cursor  string  `json:"cursor"`
}

type changed struct {
	Changed bool   `json:"changed"`
	Cursor  string `json:"cursor"`
}

type wakeup struct {
	UserID string `json:"userId"`
	Reason string `json:"reason"`
}

type posted struct {
	Message     Message  `json:"message"`
	Cursor      string   `json:"cursor"`
	Wakeups     []wakeup `json:"wakeups"`
	WakeupCount int      `json:"wakeupCount"`
	Hints       []hint   `json:"hints"`
}

type member struct {
	UserID   string `json:"userId"`
	JoinedAt string `json:"joinedAt"`
	Kind     string `json:"authorKind"`
	Name     string `json:"authorName"`
}

type roomy struct {
	Channel     channel    `json:"channel"`
	Members     []member   `json:"members"`
	MemberCount int        `json:"memberCount"`
	Turn        *turnState `json:"turn"`
	WakeUserIDs []string   `json:"wakeUserIds"`
}

type list[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"`
}

type syncData struct {
	Cursor   string    `json:"cursor"`
	UserID   string    `json:"userId"`
	Channels []channel `json:"channels"`
}

// newChannel is the body that creates a channel.
type newChannel struct {
	GuildID string   `json:"guildId"`
	Name    string   `json:"name,omitempty"`
	XType   string   `json:"xType"`
	Members []string `json:"memberUserIds,omitempty"`
	Private bool     `json:"private,omitempty"`
	History string   `json:"history,omitempty"`
}

type body map[string]any

func (u *user) create(t *testing.T, c newChannel) created {
	t.Helper()
	return call[created](t, u, 201, "POST", "/api/channels", c)
}

// general creates a channel of the general type.
func (u *user) general(t *testing.T, name string, members ...string) created {
	t.Helper()
	return u.create(t, newChannel{GuildID: "g1", Name: name, XType: "general", Members: members})
}

func (u *user) post(t *testing.T, channel, content string) posted {
	t.Helper()
	return call[posted](t, u, 201, "POST", "/api/channels/"+channel+"/messages", body{"content": content})
}

func (u *user) join(t *testing.T, channel string) changed {
	t.Helper()
	return call[changed](t, u, 200, "POST", "/api/channels/"+channel+"/join", nil)
}

func (u *user) leave(t *testing.T, channel string) changed {
	t.Helper()
	return call[changed](t, u, 200, "POST", "/api/channels/"+channel+"/leave", nil)
}

func (u *user) add(t *testing.T, channel, other string) changed {
	t.Helper()
	return call[changed](t, u, 200, "PUT", "/api/channels/"+channel+"/members/"+other, nil)
}

func (u *user) remove(t *testing.T, channel, other string) changed {
	t.Helper()
	return call[changed](t, u, 200, "DELETE", "/api/channels/"+channel+"/members/"+other, nil)
}

// history is a channel's, oldest first, as contents.
func (u *user) history(t *testing.T, channel string) []string {
	t.Helper()
	page := call[list[Message]](t, u, 200, "GET", "/api/channels/"+channel+"/messages?limit=200", nil)
	contents := []string{}
	for _, m := range page.Items {
		contents = append([]string{m.Content}, contents...)
	}
	return contents
}

// everything follows next to the end.
func everything[T any](t *testing.T, u *user, path, param string) (items []T) {
	t.Helper()
	after := ""
	for {
		page := call[list[T]](t, u, 200, "GET", path+after, nil)
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

// seq is the second part of a cursor, 0 for none.
func seq(cursor string) int64 {
	_, digits, _ := strings.Cut(cursor, ".")
	n, _ := strconv.ParseInt(digits, 10, 64)
	return n
}

type turnState struct {
	UserID *string `json:"userId"`
	Paused bool    `json:"paused"`
}
