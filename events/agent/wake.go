package agent

import (
	"encoding/json"

	"fabric-guild/events/remote"
)

// A wake is a claimed wake.
type wake struct {
	ID        string
	GuildID   string
	ChannelID string
	Name      string // of the channel
	XType     string
	Reason    string
	LeaseMS   int64
	Messages  []message // at least one, oldest first

	raw []byte // the JSON as the server sent it
}

type message struct{ ID, AuthorUserID, Content string }

// UnmarshalJSON ignores fields that it does not know, and keeps them for the command.
func (w *wake) UnmarshalJSON(b []byte) error {
	type plain wake
	if err := json.Unmarshal(b, (*plain)(w)); err != nil {
		return err
	}
	w.raw = append(append([]byte{}, b...), '\n')
	return nil
}

// newest returns the newest message.
func (w *wake) newest() message {
	if len(w.Messages) == 0 {
		return message{}
	}
	return w.Messages[len(w.Messages)-1]
}

// variables describes the wake by its newest message. stdin has all of them, which may be too much for
// variables.
func (w *wake) variables(url string) remote.Variables {
	m := w.newest()
	return remote.Variables{
		URL: url, Event: "wake", GuildID: w.GuildID, ChannelID: w.ChannelID, XType: w.XType,
		UserID: m.AuthorUserID, MessageID: m.ID, Content: m.Content, Wakeup: "true", WakeReason: w.Reason,
		WakeID: w.ID,
	}
}
