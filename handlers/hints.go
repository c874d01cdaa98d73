package handlers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/chat"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

// A hint tells the author of a message that it may not do what the author meant. Authors are often models,
// which can correct it.
type hint struct {
	Code    string   `json:"code"`
	Detail  string   `json:"detail"`
	UserIDs []string `json:"userIds,omitempty"` // the first hintedUsers of those concerned
}

const hintedUsers = 20

// besideCommand returns the fields of a body that do not go with a slash command.
func (b *postBody) besideCommand(reply *db.Reply) (wrong []web.FieldError) {
	for _, field := range []struct {
		name  string
		given bool
	}{
		{"replyTo", b.ReplyTo != nil},
		{"wakeId", reply != nil},
		{"mentionUserIds", b.MentionUserIDs != nil},
		{"wake", b.Wake != nil},
		{"ifLast", b.IfLast != nil},
	} {
		if field.given {
			wrong = append(wrong,
				web.FieldError{Field: field.name, Detail: "cannot be used with a slash command"})
		}
	}
	return wrong
}

// fill sets what the body says of a message besides its text. The error is a *web.Problem.
func (b *postBody) fill(m *db.NewMessage) error {
	var wrong []web.FieldError
	refuse := func(field, format string, args ...any) {
		wrong = append(wrong, web.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	field := "content"
	if b.MentionUserIDs == nil {
		m.Mentioned = chat.Mentions(m.Content)
	} else {
		field = "mentionUserIds"
		m.Listed = true
		users, bad := distinct(field, *b.MentionUserIDs)
		m.Mentioned, wrong = users, bad
	}
	if n := len(m.Mentioned); n > maxMentions {
		refuse(field, "mentions %d users; the maximum is %d", n, maxMentions)
	}
	message := func(field string, value *string) *uuid.UUID {
		if value == nil {
			return nil
		}
		id, ok := web.ParseID(*value)
		if !ok {
			refuse(field, "must be the id of a message")
		}
		return &id
	}
	m.ReplyTo = message("replyTo", b.ReplyTo)
	m.IfLast = message("ifLast", b.IfLast)
	if b.Wake != nil {
		if *b.Wake != "none" {
			refuse("wake", "must be none, or absent")
		}
		m.Notice = true
	}
	if len(wrong) > 0 {
		return web.Refused(wrong...)
	}
	return nil
}

// answer is the answer to a post, with the hints for its author.
func (s *Server) answer(ctx context.Context, q db.Queries, m db.NewMessage, p db.Post) (postAnswer, error) {
	if p.Bound == events.BoundTripped && p.ID == m.ID { // otherwise an earlier request has posted it
		s.wakes.Trips.Add(1)
	}
	wakeups, count := woken(p)
	a := postAnswer{
		id: p.ID, Message: p.AppendJSON(nil), Cursor: p.Cursor, Wakeups: wakeups,
		WakeupCount: count,
	}
	var strangers []string
	for _, user := range m.Mentioned {
		if user != p.AuthorUserID && !slices.Contains(p.MentionUserIDs, user) {
			strangers = append(strangers, user)
		}
	}
	if len(strangers) > 0 {
		a.Hints = append(a.Hints,
			hintAbout("not_a_member",
				"these users are not members, so the message does not mention them", strangers))
	}
	if m.Listed && len(p.MentionUserIDs) == 0 && p.XType == events.General && p.Bound == events.NoBound {
		a.Hints = append(a.Hints,
			hintAbout("wakes_everyone",
				`nobody is mentioned, so the message wakes everyone; to wake nobody, send "wake":"none"`,
				nil))
	}
	plain, err := plainMentions(ctx, q, p)
	if len(plain) > 0 {
		text := "the text names these members after a bare @, which mentions nobody; write <@ID>, or list " +
			"them in mentionUserIds"
		a.Hints = append(a.Hints, hintAbout("plain_mention", text, plain))
	}
	return a, err
}

func hintAbout(code, detail string, users []string) hint {
	return hint{Code: code, Detail: detail, UserIDs: users[:min(hintedUsers, len(users))]}
}

// plainMentions returns the members whom a text names after a bare @ and who are not mentioned, where a
// mention could wake them. It reads the database only if a text has such a name.
func plainMentions(ctx context.Context, q db.Queries, p db.Post) (users []string, err error) {
	if p.XType == events.Report || p.XType == events.DM || p.Bound == events.BoundNotice {
		return nil, nil
	}
	places := chat.PlainNames(p.Content)
	if len(places) == 0 {
		return nil, nil
	}
	var names []string
	for _, place := range places {
		for _, name := range place {
			names = append(names, name)
			if lower := strings.ToLower(name); lower != name {
				names = append(names, lower)
			}
		}
	}
	found, err := q.MemberNames(ctx, p.ChannelID, union(names), len(names))
	if err != nil {
		return nil, err
	}
	for _, place := range places {
		for _, name := range place { // the longest first
			user := found[name]
			if user == "" {
				user = found[strings.ToLower(name)]
			}
			if user == "" {
				continue
			}
			if user != p.AuthorUserID && !slices.Contains(p.MentionUserIDs, user) &&
				!slices.Contains(users, user) {
				users = append(users, user)
			}
			break
		}
	}
	return users, nil
}
