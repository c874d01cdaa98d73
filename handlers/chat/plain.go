package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of PlainNames.
const (
	maxPlain      = 20 // places
	maxPlainWords = 6  // words of a name
)

// PlainNames finds where a text says @NAME without brackets, which mentions nobody. For each such place, up
// to 20, it returns what the name may be, longest first: a name may have spaces, and what follows it may
// belong to the sentence. The caller looks for a member with one of these ids or names. An @ inside a word is
// no such place: it belongs to an address.
func PlainNames(text string) (places [][]string) {
	for part, isCode := range parts(text) {
		if isCode {
			continue
		}
		for {
			before, _, after, found := cutMention(part)
			places = append(places, plainIn(before)...)
			if !found {
				break
			}
			part = after
		}
	}
	return places[:min(len(places), maxPlain)]
}

// plainIn is PlainNames for a text without mentions and code.
func plainIn(text string) (places [][]string) {
	previous := ' '
	for i, c := range text {
		if c == '@' && !wordly(previous) {
			if names := namesAt(text[i+1:]); len(names) > 0 {
				places = append(places, names)
			}
		}
		if len(places) == maxPlain {
			break
		}
		previous = c
	}
	return places
}

func wordly(c rune) bool {
	return unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("._@-/", c)
}

// namesAt returns the names with which a text may begin, longest first. Each ends where a word ends.
func namesAt(text string) (names []string) {
	if i := strings.IndexFunc(text, unicode.IsControl); i >= 0 {
		text = text[:i]
	}
	words := 0
	inWord := false
	length := 0
	for i, c := range text {
		is := unicode.IsLetter(c) || unicode.IsDigit(c) || unicode.IsMark(c) || c == '_'
		if i == 0 && !is {
			return nil
		}
		if inWord && !is {
			names = append(names, text[:i])
			words++
		}
		length++
		if inWord = is; words == maxPlainWords || length > MaxNameLen {
			break
		}
	}
	if inWord && words < maxPlainWords && utf8.RuneCountInString(text) <= MaxNameLen {
		names = append(names, text)
	}
	longest := make([]string, 0, len(names))
	for i := len(names) - 1; i >= 0; i-- {
		longest = append(longest, names[i])
	}
	return longest
}
