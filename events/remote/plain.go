package remote

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Harmless reports whether a terminal shows r and does nothing else. Control characters are not harmless, and
// some of them are above 127. Characters that change the direction of a line and invisible ones are not
// harmless either. The two joiners are allowed, because emoji and some scripts need them.
func Harmless(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return unicode.IsGraphic(r) || r == nonJoiner || r == joiner
}

// Plain returns s as one line that is safe on a terminal. It writes characters that are not harmless as Go
// escapes.
func Plain(s string) string {
	escape := func(r rune) string { return strings.Trim(strconv.QuoteRuneToASCII(r), "'") }
	return string(mapHarmful([]byte(s), escape))
}

// PlainJSON returns the same JSON value with all characters escaped that are not harmless.
func PlainJSON(text []byte) []byte {
	return mapHarmful(text, func(r rune) string {
		if a, b := utf16.EncodeRune(r); a != unicode.ReplacementChar {
			return fmt.Sprintf(`\u%04x\u%04x`, a, b)
		}
		return fmt.Sprintf(`\u%04x`, r)
	})
}

// mapHarmful replaces all characters that are not harmless. It replaces invalid UTF-8 with the replacement
// character.
func mapHarmful(s []byte, escape func(rune) string) []byte {
	b := make([]byte, 0, len(s)+1)
	for _, r := range string(s) {
		if Harmless(r) {
			b = append(b, string(r)...)
		} else {
			b = append(b, escape(r)...)
		}
	}
	return b
}
