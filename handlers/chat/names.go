package chat

import (
	"unicode"
	"unicode/utf8"
)

// MaxDisplayName is the maximum length of a display name, in characters (Unicode code points).
const MaxDisplayName = 64

// ValidDisplayName reports whether a user may have a display name: 1 to MaxDisplayName characters, and
// Readable. It does not check whether the name is the id of another user.
func ValidDisplayName(name string) bool {
	return utf8.ValidString(name) && utf8.RuneCountInString(name) <= MaxDisplayName && Readable(name)
}

// Readable reports whether a name has a visible character, and no character that could hide or reorder the
// text around the name: no control character, no line end, and none that sets the direction of text (Unicode,
// Bidi_Control). Joiners and variation selectors are allowed, because emoji and some scripts need them.
func Readable(name string) bool {
	shows := false
	for _, c := range name {
		if unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) ||
			unicode.In(c, unicode.Zl, unicode.Zp) {
			return false
		}
		shows = shows || showsItself(c)
	}
	return shows
}

// showsItself reports whether a character is visible without another one. Letters without a shape (the Hangul
// fillers) and the empty braille pattern are not.
func showsItself(c rune) bool {
	const emptyBraille = '\u2800'
	blank := unicode.In(c, unicode.Zs, unicode.Mn, unicode.Me, unicode.Other_Default_Ignorable_Code_Point)
	return unicode.IsGraphic(c) && !blank && c != emptyBraille
}
