package tail

import (
	"cmp"
	"context"
	"io"
	"strings"
	"time"

	"fabric-guild/events"
)

// lines prints for people: a line for each event, and more where a message has more. Those are indented, so
// that whoever writes one cannot make it look like another's.
type lines struct {
	to    io.Writer
	wants func(name string) bool
	zone  *time.Location
	names map[string]string // of channels, by their ids
}

func (l *lines) take(ctx context.Context, e event) error {
	label := l.label(&e) // as it was called until now
	l.learn(&e)
	if !e.ofLog() || !l.wants(e.Name) {
		return nil
	}
	return write(ctx, l.to, []byte(l.time(&e)+" "+label+" "+l.text(&e)+"\n"))
}

// learn notes what channels are called. A message does not say it.
func (l *lines) learn(e *event) {
	for _, c := range e.Channels {
		l.names[c.ID] = c.Name
	}
	if e.ofLog() && e.ChannelName != "" {
		l.names[e.ChannelID] = e.ChannelName
	}
}

// label is the channel's name, or its id where the name is not known.
func (l *lines) label(e *event) string {
	name := cmp.Or(l.names[e.ChannelID], e.ChannelName)
	switch {
	case name == "" && e.XType == string(events.DM):
		return "dm"
	case name == "":
		name = e.ChannelID
	}
	return hash(name)
}

// hash is a channel's name as one word.
func hash(name string) string {
	name = "#" + plain(name)
	if strings.ContainsAny(name, " :") {
		name = `"` + strings.ReplaceAll(name, `"`, `'`) + `"`
	}
	return name
}

// time is when the event happened.
func (l *lines) time(e *event) string {
	for _, s := range []string{e.OccurredAt, e.EditedAt, e.CreatedAt} {
		if at, err := time.Parse(time.RFC3339, s); err == nil {
			return at.In(l.zone).Format(time.DateTime)
		}
	}
	return strings.Repeat("-", len(time.DateTime))
}

func (l *lines) text(e *event) string {
	author, user := plain(e.AuthorUserID), plain(e.UserID)
	switch e.Name {
	case string(events.MessageCreated):
		if e.Wakeup {
			author += " [wakes you: " + plain(e.WakeReason) + "]"
		}
		return author + ": " + content(e)
	case string(events.MessageUpdated):
		return author + " edited: " + content(e)
	case string(events.MessageDeleted):
		return author + "'s message is deleted"
	case events.ChannelJoined:
		return "you joined"
	case events.ChannelLeft:
		return "you left"
	case string(events.MemberJoined):
		return user + " joined"
	case string(events.MemberLeft):
		return user + " left"
	case string(events.ChannelUpdated):
		return user + " changed the channel, now " + hash(e.ChannelName)
	case string(events.ChannelArchived):
		return user + " archived the channel"
	case string(events.TurnChanged):
		if user == "" {
			user = "nobody"
		}
		return "it is " + user + "'s turn (" + plain(e.Reason) + ")"
	}
	return plain(e.Name) + " " + plain(string(e.Data))
}

// content is a message's text. Its second and further lines are indented.
func content(e *event) string {
	switch {
	case e.Deleted:
		return "(deleted)"
	case e.Redacted:
		return "(changed after you left)"
	}
	text := strings.ReplaceAll(e.Content, "\r\n", "\n")
	text = strings.ReplaceAll(text, "\t", "    ")
	parts := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range parts {
		parts[i] = plain(line)
	}
	return strings.Join(parts, "\n    | ")
}
