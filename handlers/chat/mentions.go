// Package chat holds the rules of the conversation: pure functions of small values.
package chat

import "strings"

// MaxIDLen is the length of the longest user or guild id.
const MaxIDLen = 128

// ValidID reports whether s is an id of a user or a guild: 1 to 128 of [A-Za-z0-9._@-].
func ValidID(s string) bool {
	if s == "" || len(s) > MaxIDLen {
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
func Mentions(text string) []string {
	var ids []string
	seen := map[string]bool{}
	for {
		_, rest, found := strings.Cut(text, "<@")
		if !found {
			return ids
		}
		text = rest
		id, after, closed := strings.Cut(rest, ">")
		if !closed {
			return ids
		}
		id = strings.TrimPrefix(id, "user.id:")
		if !ValidID(id) {
			continue // from behind "<@": a mention may begin inside of what is none
		}
		text = after
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
}
