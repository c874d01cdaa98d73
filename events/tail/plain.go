package tail

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// harmless reports whether a terminal shows r and does no more: neither a control character, of which there
// are some above 127 as well, nor one that turns the direction of a line or is not seen at all. The two joiners
// are part of emoji and of scripts.
func harmless(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return unicode.IsGraphic(r) || r == nonJoiner || r == joiner
}

// plain is s in one line that drives no terminal: what is not harmless is shown as Go would write it.
func plain(s string) string {
	return string(mapHarmful([]byte(s), func(r rune) string { return strings.Trim(strconv.QuoteRuneToASCII(r), "'") }))
}

// plainJSON is the same JSON text, whose strings escape what is not harmless.
func plainJSON(text []byte) []byte {
	return mapHarmful(text, func(r rune) string {
		if a, b := utf16.EncodeRune(r); a != unicode.ReplacementChar {
			return fmt.Sprintf(`\u%04x\u%04x`, a, b)
		}
		return fmt.Sprintf(`\u%04x`, r)
	})
}

// mapHarmful takes what is no UTF-8 for the replacement character.
func mapHarmful(s []byte, escape func(rune) string) []byte {
	b := make([]byte, 0, len(s)+1)
	for _, r := range string(s) {
		if harmless(r) {
			b = append(b, string(r)...)
		} else {
			b = append(b, escape(r)...)
		}
	}
	return b
}
