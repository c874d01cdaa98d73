// Package chat holds the rules of a conversation: mentions, slash commands and turns. Its functions are
// pure: they use no clock, no lock and no database.
package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxIDLen is the maximum length of a user or guild id, in bytes.
	MaxIDLen = 128
	// MaxNameLen is the maximum length of a name that a mention resolves, in characters.
	MaxNameLen = 128
)

// ValidID reports whether s is a valid id of a user or a guild: 1 to 128 characters of [A-Za-z0-9._@-]. "."
// and ".." are not valid, because clients and proxies remove them from a path.
func ValidID(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > MaxIDLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		digit := c >= '0' && c <= '9'
		if !letter && !digit && !strings.ContainsRune("._@-", rune(c)) {
			return false
		}
	}
	return true
}

// Mentions returns the ids that a text mentions as <@ID> or <@user.id:ID>, without duplicates, in the order
// of their first mention. Nothing inside code is a mention. It does not check whether the users exist.
func Mentions(text string) []string { return collect(text, mentionedID) }

// Names returns the names that a text asks to resolve with <@user.name:NAME>, without duplicates, in the
// order of their first mention. A NAME is UTF-8 of 1 to 128 characters, without <, > and control characters
// (NUL is one). A mention with any other NAME is plain text. Names does not limit the number of names: the
// caller may resolve only some of them, because Rewrite keeps unresolved ones.
func Names(text string) []string { return collect(text, mentionedName) }

// Rewrite returns text with mentions in their short form <@ID>: every mention by id, and every mention by a
// name that is a key of resolved. All other bytes stay the same, and so does code. A name whose value in
// resolved is not a valid id counts as unresolved. Rewriting a second time changes nothing. The result may be
// longer than text.
func Rewrite(text string, resolved map[string]string) string {
	var b strings.Builder
	for part, isCode := range parts(text) {
		if isCode {
			b.WriteString(part)
		} else {
			rewrite(&b, part, resolved)
		}
	}
	return b.String()
}

// rewrite is Rewrite for a text without code.
func rewrite(b *strings.Builder, text string, resolved map[string]string) {
	for {
		before, inner, after, found := cutMention(text)
		b.WriteString(before)
		if !found {
			return
		}
		if id, ok := mentionedID(inner); ok {
			inner = id
		} else if name, ok := mentionedName(inner); ok && ValidID(resolved[name]) {
			inner = resolved[name]
		}
		b.WriteString("<@" + inner + ">")
		text = after
	}
}

// cutMention cuts text around the first <@…> without < or > inside. So a mention may begin inside text that
// is not a mention, mentions never overlap, and replacing a mention never creates a new one. If there is no
// mention, before is the whole text.
func cutMention(text string) (before, inner, after string, found bool) {
	for at := 0; ; {
		begin := strings.Index(text[at:], "<@")
		if begin < 0 {
			return text, "", "", false
		}
		at += begin + len("<@")
		length := strings.IndexAny(text[at:], "<>")
		if length < 0 {
			return text, "", "", false
		}
		if text[at+length] == '>' {
			return text[:at-len("<@")], text[at : at+length], text[at+length+1:], true
		}
		at += length
	}
}

// collect returns the different results of mentioned for all mentions of a text, in their order.
func collect(text string, mentioned func(inner string) (string, bool)) []string {
	var all []string
	seen := map[string]bool{}
	for part, isCode := range parts(text) {
		if isCode {
			continue
		}
		for {
			_, inner, after, found := cutMention(part)
			if !found {
				break
			}
			s, ok := mentioned(inner)
			if ok && !seen[s] {
				seen[s] = true
				all = append(all, s)
			}
			part = after
		}
	}
	return all
}

// mentionedID returns the id of a mention by id. inner is the text between <@ and >.
func mentionedID(inner string) (string, bool) {
	id := strings.TrimPrefix(inner, "user.id:")
	return id, ValidID(id)
}

// mentionedName returns the name of a mention by name. inner is the text between <@ and >.
func mentionedName(inner string) (string, bool) {
	name, ok := strings.CutPrefix(inner, "user.name:")
	if !ok || name == "" || !utf8.ValidString(name) {
		return name, false
	}
	return name, utf8.RuneCountInString(name) <= MaxNameLen && !strings.ContainsFunc(name, unicode.IsControl)
}
