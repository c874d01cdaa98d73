package events

// A Profile is a user as messages name them.
type Profile struct {
	UserID string
	Kind   UserKind
	Name   string // the display name; empty: none is known
}

// ByAuthor returns a copy of e that names the author of its message as a says. It returns e itself if e names
// the author so already, or has no message by this author.
func (e *Event) ByAuthor(a Profile) *Event {
	m := e.Message
	if m == nil || m.AuthorUserID != a.UserID || m.AuthorKind == a.Kind && m.AuthorName == a.Name {
		return e
	}
	named := *m
	named.AuthorKind = a.Kind
	named.AuthorName = a.Name
	return e.WithMessage(&named, e.Gone)
}
