// Package chat holds the rules of the conversation: pure functions of small values.
package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxIDLen is the length of the longest user or guild id.
	MaxIDLen = 128
	// MaxNameLen is the length of the longest name that a mention resolves, in characters.
	MaxNameLen = 128
)

// ValidID reports whether s is an id of a user or a guild: 1 to 128 of [A-Za-z0-9._@-], but neither "." nor "..", which
// clients and proxies take out of a path.
func ValidID(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > MaxIDLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._@-", rune(c)) {
			return false
		}
	}
	return true
}

// Mentions returns the ids that a text mentions, <@ID> or <@user.id:ID>, each once, in the order in which
// they come first. Whether such a user exists is not known here.
func Mentions(text string) []string { return collect(text, mentionedID) }

// Names returns the names that a text asks to be resolved, <@user.name:NAME>, each once, in the order in
// which they come first. A NAME is UTF-8 of 1 to 128 characters, none of them <, > or a control character
// (NUL is one); what else stands in its place is text. How many are worth a question is the caller's to say:
// Rewrite leaves those without an answer as they are.
func Names(text string) []string { return collect(text, mentionedName) }

// Rewrite returns text with every mention by id, and every one by a name that resolved knows, as <@ID>, and
// all else byte for byte. A name that resolved maps to what is no id counts as unresolved. To rewrite twice
// is to rewrite once. The result may be longer than text.
func Rewrite(text string, resolved map[string]string) string {
	var b strings.Builder
	for {
		before, inner, after, found := cutMention(text)
		b.WriteString(before)
		if !found {
			return b.String()
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

// cutMention cuts text around the first <@…> with neither < nor > between. So a mention may begin inside of
// what is none, no two overlap, and none comes into being where one is replaced by another. Without any,
// before is all of text.
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

func collect(text string, mentioned func(inner string) (string, bool)) []string {
	var all []string
	seen := map[string]bool{}
	for {
		_, inner, after, found := cutMention(text)
		if !found {
			return all
		}
		if s, ok := mentioned(inner); ok && !seen[s] {
			seen[s] = true
			all = append(all, s)
		}
		text = after
	}
}

func mentionedID(inner string) (string, bool) {
	id := strings.TrimPrefix(inner, "user.id:")
	return id, ValidID(id)
}

func mentionedName(inner string) (string, bool) {
	name, ok := strings.CutPrefix(inner, "user.name:")
	return name, ok && name != "" && utf8.ValidString(name) && utf8.RuneCountInString(name) <= MaxNameLen &&
		!strings.ContainsFunc(name, unicode.IsControl)
}
