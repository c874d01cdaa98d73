package events

import (
	"slices"

	"github.com/google/uuid"
)

// A Message is a message as answers and the history show it to members. A stream adds a wake decision.
type Message struct {
	ID           uuid.UUID `json:"id"`
	ChannelID    uuid.UUID `json:"channelId"`
	GuildID      string    `json:"guildId"`
	XType        XType     `json:"xType"`
	AuthorUserID string    `json:"authorUserId"`
	AuthorKind   UserKind  `json:"authorKind"` // as the author is now
	// as the author is now; empty: no display name is known
	AuthorName     string     `json:"authorName,omitempty"`
	Content        string     `json:"content,omitempty"` // empty if deleted or redacted
	MentionUserIDs []string   `json:"mentionUserIds"`
	ReplyTo        *uuid.UUID `json:"replyTo,omitempty"`
	ReplyToUserID  string     `json:"replyToUserId,omitempty"` // the author of the message in ReplyTo
	CreatedAt      Time       `json:"createdAt"`
	EditedAt       *Time      `json:"editedAt,omitempty"`
	Deleted        bool       `json:"deleted,omitempty"`
	Redacted       bool       `json:"redacted,omitempty"` // the message changed after the reader had left
	// discuss, work: whose turn it is after the message
	TurnUserID string `json:"turnUserId,omitempty"`

	Seq       int64 `json:"-"` // the number of its first event
	EditedSeq int64 `json:"-"` // the number of the latest event that changed it; 0: none
	// the wake list at the time of the post; messages share it, because lists never change
	WakeList []string `json:"-"`
	Admin    string   `json:"-"` // the admin at the time of the post
	TwoState bool     `json:"-"`
	ByAgent  bool     `json:"-"` // an agent wrote it, as of the post
	Bound    Bound    `json:"-"` // what limits whom it wakes
	facts    *Facts
}

// Facts returns what delivery decides by.
func (m *Message) Facts() *Facts {
	if m.facts != nil {
		return m.facts
	}
	return &Facts{
		XType: m.XType, Author: m.AuthorUserID, Mentioned: inOrder(m.MentionUserIDs),
		WakeList: inOrder(m.WakeList), Turn: m.TurnUserID, Admin: m.Admin, TwoState: m.TwoState,
		Bound: m.Bound,
	}
}

// inOrder returns ids sorted. It returns ids itself if they are sorted already.
func inOrder(ids []string) []string {
	if slices.IsSorted(ids) {
		return ids
	}
	return slices.Sorted(slices.Values(ids))
}

// Settle computes the facts once, so that later calls of Facts allocate nothing. It must come before m is
// shared.
func (m *Message) Settle() { m.facts = m.Facts() }

// For returns the message as the member of an interval may see it. It has no content if the content changed
// after the member had left.
func (m Message) For(in Interval) Message {
	if m.changedAfter(in) {
		m.Content, m.EditedAt, m.Redacted = "", nil, true
	}
	return m
}

func (m *Message) changedAfter(in Interval) bool { return in.Left != 0 && m.EditedSeq > in.Left }
