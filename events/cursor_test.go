package events

import (
	"encoding/json"
	"testing"
)

func TestParseCursor(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Cursor{"1795305600.1042": {1795305600, 1042}, "1.0": {1, 0}} {
		if got, err := ParseCursor(s); got != want || err != nil {
			t.Errorf("%q: got %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", ".", "1", "1.", ".1", "0.1", "-1.1", "1.-1", "+1.1", "01.1", "1.01", "1.1.1", " 1.1", "1.1 ",
		"1.1\n", "a.1", "1.a",
		"1,1", "9223372036854775808.1", "1.9223372036854775808", "١.١",
	} {
		if got, err := ParseCursor(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, got)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add("1795305600.1042")
	f.Add("1.-0")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		if err != nil {
			return
		}
		if c.String() != s {
			t.Errorf("%q was read as %v", s, c)
		}
		b, err := json.Marshal(c)
		var back Cursor
		if err != nil || json.Unmarshal(b, &back) != nil || back != c {
			t.Errorf("%v went through JSON as %s and came back as %v", c, b, back)
		}
	})
}
