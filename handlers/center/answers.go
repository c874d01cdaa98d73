package center

import (
	"encoding/json"
	"slices"
	"time"

	"fabric-guild/events"
	"fabric-guild/handlers/chat"
)

// lastExp is the last second that RFC 3339 can write. A larger exp is not a time in seconds.
const lastExp = 253402300799

// An object is the top level of a JSON answer. Member names are matched exactly. Unknown members are
// ignored.
type object map[string]json.RawMessage

// read decodes the member name into v. If the member is absent, v keeps its value. The same holds for null,
// unless v accepts null.
func (o object) read(name string, v any) *failure {
	raw, ok := o[name]
	if !ok {
		return nil
	}
	if json.Unmarshal(raw, v) != nil {
		return &failure{invalid, "its answer has a " + name + " of the wrong type"}
	}
	return nil
}

func readObject(answer []byte) (o object, f *failure) {
	if json.Unmarshal(answer, &o) != nil || o == nil {
		return nil, &failure{invalid, "its answer is not a JSON object"}
	}
	return o, nil
}

// readIntrospection reads {active,userId,exp?,guildIds?,kind?,displayName?,iat?}. If active is false, it
// ignores the other members.
func readIntrospection(answer []byte) (id Identity, active bool, f *failure) {
	o, f := readObject(answer)
	if f != nil {
		return id, false, f
	}
	var saysActive *bool
	if f := o.read("active", &saysActive); f != nil {
		return id, false, f
	}
	switch {
	case saysActive == nil:
		return id, false, &failure{invalid, "its answer does not say whether the token is active"}
	case !*saysActive:
		return id, false, nil
	}
	if f := o.read("userId", &id.UserID); f != nil {
		return id, false, f
	}
	if !chat.ValidID(id.UserID) {
		return id, false, &failure{invalid, "its answer has no valid userId"}
	}
	var exp *int64
	if f := o.read("exp", &exp); f != nil {
		return id, false, f
	}
	if exp != nil {
		if *exp > lastExp {
			return id, false, &failure{invalid, "its answer has an exp that is not in seconds"}
		}
		// A time before 1970 could equal the zero time.Time, which means that there is no exp.
		id.Expires = time.Unix(max(0, *exp), 0)
	}
	if _, given := o["guildIds"]; given {
		if f := o.read("guildIds", &id.Guilds); f != nil {
			return id, false, f
		}
		if id.Guilds == nil { // null could mean all guilds or none: do not guess
			return id, false, &failure{invalid, "its answer has a guildIds of the wrong type"}
		}
		// A guild with an invalid id cannot exist on this server.
		id.Guilds = slices.DeleteFunc(id.Guilds, func(g string) bool { return !chat.ValidID(g) })
	}
	o.readUser(&id)
	return id, true, nil
}

// readUser reads {kind?,displayName?,iat?}. They are about names only, so what is not valid counts as absent:
// a user with an odd name must still be able to sign in.
func (o object) readUser(id *Identity) {
	var kind events.UserKind
	if o.read("kind", &kind) == nil && slices.Contains(events.UserKinds, kind) {
		id.Kind = kind
	}
	var name string
	if o.read("displayName", &name) == nil && chat.ValidDisplayName(name) {
		id.DisplayName = name
	}
	var issued int64
	if o.read("iat", &issued) == nil && issued > 0 && issued <= lastExp {
		id.IssuedAt = issued
	}
}

// readAdmin reads {email,userId} or null. If one of the two is missing, there is no admin, as for null.
func readAdmin(answer []byte) (*Admin, *failure) {
	var o object
	if json.Unmarshal(answer, &o) != nil {
		return nil, &failure{invalid, "its answer is neither a JSON object nor null"}
	}
	var a Admin
	if f := o.read("email", &a.Email); f != nil {
		return nil, f
	}
	if f := o.read("userId", &a.UserID); f != nil {
		return nil, f
	}
	switch {
	case a.Email == "" || a.UserID == "":
		return nil, nil
	case !chat.ValidID(a.UserID):
		return nil, &failure{invalid, "its answer has no valid userId"}
	}
	return &a, nil
}
