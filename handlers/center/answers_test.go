package center

import (
	"testing"
	"time"

	"fabric-guild/handlers/chat"
)

// For any answer of Center, the parsed result is valid: ids are valid ids, times can be encoded, and a token
// counts as active only if Center says so.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		"",
		"null",
		"{}",
		"[]",
		`{"active":true,"userId":"alice"}`,
		`{"active":true,"userId":"a b"}`,
		`{"active":false,"userId":"alice"}`,
		`{"active":"true"}`,
		`{"active":true,"userId":"alice","exp":1e99}`,
		`{"active":true,"userId":"alice","exp":-1}`,
		`{"active":true,"userId":"alice","exp":99999999999999}`,
		`{"active":true,"userId":"alice","guildIds":null}`,
		`{"active":true,"userId":"alice","guildIds":["g1","g 2",""]}`,
		`{"ACTIVE":true,"userId":"alice"}`,
		`{"email":"a@b","userId":"ada"}`,
		`{"email":"a@b","userId":"a\u0000"}`,
		`{"email":"","userId":"ada"}`,
		`{"active":true,"active":false,"userId":"alice"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		if id, active, failed := readIntrospection(answer); failed == nil && active {
			outOfRange := !id.Expires.IsZero() && (id.Expires.Unix() < 0 || id.Expires.Year() > 9999)
			if !chat.ValidID(id.UserID) || outOfRange {
				t.Errorf("%q: got %+v", answer, id)
			}
			if _, err := id.Expires.UTC().MarshalJSON(); err != nil {
				t.Errorf("%q: cannot encode the time %v: %v", answer, id.Expires, err)
			}
			for _, g := range id.Guilds {
				if !chat.ValidID(g) {
					t.Errorf("%q: got the guild %q", answer, g)
				}
			}
			if id.Expires.After(time.Unix(lastExp, 0)) {
				t.Errorf("%q: got %v, which is not a time in seconds", answer, id.Expires)
			}
		}
		if a, failed := readAdmin(answer); failed == nil && a != nil &&
			(!chat.ValidID(a.UserID) || a.Email == "") {
			t.Errorf("%q: got the admin %+v", answer, a)
		}
	})
}
