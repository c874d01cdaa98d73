package tail

import (
	"cmp"
	"context"
	"io"
	"strings"
	"time"

	"fabric-guild/events"
	"fabric-guild/events/remote"
)

// lines prints for people. It prints a line for each event, and one more for each further line of a message.
// It indents further lines, so that an author cannot make a line look like another user's message.
type lines struct {
	to    io.Writer
	wants func(name string) bool
	zone  *time.Location
	names map[string]string // channel id to name
}

// take is a sink. It prints the events of the event log and ignores the stream's own.
func (l *lines) take(ctx context.Context, e event) error {
	label := l.label(&e) // before learn, so that a renamed channel has its old name in this line
	l.learn(&e)
	if !e.ofLog() || !l.wants(e.Name) {
		return nil
	}
	return write(ctx, l.to, []byte(l.time(&e)+" "+label+" "+l.text(&e)+"\n"))
}

// learn records the names of channels, because a message does not contain the name of its channel.
func (l *lines) learn(e *event) {
	for _, c := range e.Channels {
		l.names[c.ID] = c.Name
	}
	if e.ofLog() && e.ChannelName != "" {
		l.names[e.ChannelID] = e.ChannelName
	}
}

// label returns the channel's name, or its id if the name is unknown.
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

// hash returns a channel's name with a # as one word. A name with a space or a colon gets quotes.
func hash(name string) string {
	name = "#" + remote.Plain(name)
	if strings.ContainsAny(name, " :") {
		name = `"` + strings.ReplaceAll(name, `"`, `'`) + `"`
	}
	return name
}

// time returns when the event happened, or dashes if the event has no time.
func (l *lines) time(e *event) string {
	for _, s := range []string{e.OccurredAt, e.EditedAt, e.CreatedAt} {
		if at, err := time.Parse(time.RFC3339, s); err == nil {
			return at.In(l.zone).Format(time.DateTime)
		}
	}
	return strings.Repeat("-", len(time.DateTime))
}

// text returns what happened.
func (l *lines) text(e *event) string {
	author := remote.Plain(e.AuthorUserID)
	user := remote.Plain(e.UserID)
	switch e.Name {
	case string(events.MessageCreated):
		if e.Wakeup {
			author += " [wakes you: " + remote.Plain(e.WakeReason) + "]"
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
		return "it is " + user + "'s turn (" + remote.Plain(e.Reason) + ")"
	case string(events.WakeDead):
		return user + " could not answer a message, and nobody works on it any more"
	case string(events.GuardTripped):
		return user + "'s message was one too many: agents wake nobody here until a human writes or sends /go"
	}
	return remote.Plain(e.Name) + " " + remote.Plain(string(e.Data))
}

// content returns a message's text. It indents all lines but the first.
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
		parts[i] = remote.Plain(line)
	}
	return strings.Join(parts, "\n    | ")
}
