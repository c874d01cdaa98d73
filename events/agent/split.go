package agent

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a message, in bytes. A body has at most 64 KiB, and mentions may take 26 KiB of it.
const (
	maxPiece   = 16 << 10
	maxEncoded = 32 << 10 // as JSON, which writes a control character in six bytes
)

// clean returns the output of a command as text that can be posted: valid UTF-8 without NUL, without blank
// lines at the beginning and without white space at the end.
func clean(output []byte) string {
	text := strings.ToValidUTF8(string(output), "\uFFFD")
	text = strings.ReplaceAll(text, "\x00", "")
	text = strings.TrimRightFunc(text, unicode.IsSpace)
	for {
		line, rest, more := strings.Cut(text, "\n")
		if !more || strings.TrimSpace(line) != "" {
			return text
		}
		text = rest
	}
}

// split cuts a clean text into messages, at the ends of lines where it can. It doubles a slash at the
// beginning of each, so that none is a slash command. An empty text is no message.
func split(text string) (pieces []string) {
	for text != "" {
		slash := ""
		if text[0] == '/' {
			slash = "/"
		}
		end := len(text)
		if room := fits(text, maxPiece-len(slash)); end > room {
			end = cut(text, room)
		}
		piece := strings.TrimRightFunc(text[:end], unicode.IsSpace)
		if piece != "" {
			pieces = append(pieces, slash+piece)
		}
		text = text[end:]
	}
	return pieces
}

// fits returns the length of the longest beginning of text that one message can hold: room bytes at most, and
// maxEncoded bytes at most as JSON. It ends with a whole character.
func fits(text string, room int) int {
	encoded := 0
	for i, r := range text {
		size := utf8.RuneLen(r)
		switch {
		case strings.ContainsRune("\"\\\n\r\t", r):
			encoded += 2
		case r < ' ', r == '\u2028', r == '\u2029':
			encoded += 6
		default:
			encoded += size
		}
		if i+size > room || encoded > maxEncoded {
			return i
		}
	}
	return len(text)
}

// cut returns where to cut a text that is longer than room: behind the last line that fits, otherwise at
// room.
func cut(text string, room int) int {
	if end := strings.LastIndexByte(text[:room], '\n') + 1; end > 0 {
		return end
	}
	return room
}
