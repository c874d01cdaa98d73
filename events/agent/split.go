package agent

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxPiece is the maximum length of a message, in bytes.
const maxPiece = 16 << 10

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
		if room := maxPiece - len(slash); end > room {
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

// cut returns where to cut a text that is longer than room: behind the last line that fits, otherwise behind
// the last character that fits.
func cut(text string, room int) int {
	if end := strings.LastIndexByte(text[:room], '\n') + 1; end > 0 {
		return end
	}
	for !utf8.RuneStart(text[room]) {
		room--
	}
	return room
}
