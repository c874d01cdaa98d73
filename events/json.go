package events

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// AppendJSON appends m as encoding/json writes it, but without escapes for HTML, so that a mention stays
// readable. It is written by hand because each post and each frame of each message uses it: reflection took a
// third of a frame's time.
func (m *Message) AppendJSON(b []byte) []byte {
	return append(m.appendFields(append(b, '{')), '}')
}

// size estimates the length of AppendJSON's result in bytes.
func (m *Message) size() int {
	n := 305 + len(m.Content) + escapes(m.Content) + len(m.GuildID) + len(m.AuthorUserID) + len(m.TurnUserID)
	n += len(m.AuthorName) + escapes(m.AuthorName) + len(m.ReplyToUserID)
	for _, id := range m.MentionUserIDs {
		n += len(id) + 3
	}
	return n
}

// appendFields appends the text between the braces.
func (m *Message) appendFields(b []byte) []byte {
	b = appendID(append(b, `"id":`...), m.ID)
	b = appendID(append(b, `,"channelId":`...), m.ChannelID)
	b = appendString(append(b, `,"guildId":`...), m.GuildID)
	b = appendString(append(b, `,"xType":`...), string(m.XType))
	b = appendString(append(b, `,"authorUserId":`...), m.AuthorUserID)
	b = appendString(append(b, `,"authorKind":`...), string(m.AuthorKind))
	if m.AuthorName != "" {
		b = appendString(append(b, `,"authorName":`...), m.AuthorName)
	}
	if m.Content != "" {
		b = appendString(append(b, `,"content":`...), m.Content)
	}
	b = appendStrings(append(b, `,"mentionUserIds":`...), m.MentionUserIDs)
	if m.ReplyTo != nil {
		b = appendID(append(b, `,"replyTo":`...), *m.ReplyTo)
	}
	if m.ReplyToUserID != "" {
		b = appendString(append(b, `,"replyToUserId":`...), m.ReplyToUserID)
	}
	b = m.CreatedAt.append(append(b, `,"createdAt":`...))
	if m.EditedAt != nil {
		b = m.EditedAt.append(append(b, `,"editedAt":`...))
	}
	if m.Deleted {
		b = append(b, `,"deleted":true`...)
	}
	if m.Redacted {
		b = append(b, `,"redacted":true`...)
	}
	if m.TurnUserID != "" {
		b = appendString(append(b, `,"turnUserId":`...), m.TurnUserID)
	}
	return b
}

// appendID appends an id in the form of RFC 9562 §4.
func appendID(b []byte, id uuid.UUID) []byte {
	b = hex.AppendEncode(append(b, '"'), id[:4])
	b = hex.AppendEncode(append(b, '-'), id[4:6])
	b = hex.AppendEncode(append(b, '-'), id[6:8])
	b = hex.AppendEncode(append(b, '-'), id[8:10])
	b = hex.AppendEncode(append(b, '-'), id[10:])
	return append(b, '"')
}

func appendStrings(b []byte, all []string) []byte {
	if all == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, s := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendString appends s as a JSON string. It leaves a string that needs escapes to encoding/json.
func appendString(b []byte, s string) []byte {
	if plain(s) {
		return append(append(append(b, '"'), s...), '"')
	}
	return appendEncoded(b, s)
}

// appendEncoded appends v as encoding/json writes it. It panics if v does not encode, which no type of this
// package does.
func appendEncoded(b []byte, v any) []byte {
	w := bytes.NewBuffer(b)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // a mention must stay readable
	if err := enc.Encode(v); err != nil {
		panic("events: encode a frame: " + err.Error())
	}
	text := bytes.TrimSuffix(w.Bytes()[len(b):], []byte("\n"))
	return append(w.Bytes()[:len(b)], OneLine(text)...)
}

// lineEnds are the characters that end a line for some readers, and that a string of JSON may hold as they
// are. Python's str.splitlines splits at all three. It also splits at \v, \f and U+001C to U+001E, but JSON
// itself forbids control characters below U+0020 (RFC 8259 §7).
var lineEnds = strings.NewReplacer("\u0085", `\u0085`, "\u2028", `\u2028`, "\u2029", `\u2029`)

// OneLine returns the same JSON text with the line ends of Unicode escaped, so that every reader takes it for
// one line. encoding/json escapes U+2028 and U+2029 but not U+0085, and Postgres' jsonb escapes none of them.
// Outside of strings JSON has none of these characters. OneLine returns text itself if nothing needs an
// escape.
func OneLine(text []byte) []byte {
	if !bytes.Contains(text, []byte("\u0085")) && !bytes.Contains(text, []byte("\u2028")) &&
		!bytes.Contains(text, []byte("\u2029")) {
		return text
	}
	return []byte(lineEnds.Replace(string(text)))
}

// escapes returns the number of bytes that JSON adds to s, or a few more.
func escapes(s string) (n int) {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ':
			n += len(`\u0001`) - 1
		case c == '"' || c == '\\':
			n++
		case endsLine(s[i:]):
			n += len(`\u0085`) - len("\u0085")
		}
	}
	return n
}

// plain reports whether a string of JSON may hold s as it is (RFC 8259 §7) and s stays one line for every
// reader.
func plain(s string) bool {
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == '"' || c == '\\':
			return false
		case c >= utf8.RuneSelf:
			ascii = false
			if endsLine(s[i:]) {
				return false
			}
		}
	}
	return ascii || utf8.ValidString(s)
}

// endsLine reports whether s begins with one of lineEnds: U+0085 is C2 85, the others are E2 80 A8 and E2 80
// A9.
func endsLine(s string) bool {
	switch s[0] {
	case 0xc2:
		return len(s) > 1 && s[1] == 0x85
	case 0xe2:
		return len(s) > 2 && s[1] == 0x80 && s[2]&^1 == 0xa8
	}
	return false
}
