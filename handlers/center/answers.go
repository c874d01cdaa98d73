package center

import (
	"encoding/json"
	"slices"
	"time"

	"fabric-guild/handlers/chat"
)

// lastExp is the last second that RFC 3339 can write. Beyond it exp is no time in seconds.
const lastExp = 253402300799

// An object is an answer by its members. Their names are exact, and those that are not known are passed over.
type object map[string]json.RawMessage

// read reads the member name into v. What is absent, or null unless v takes that, leaves v as it is.
func (o object) read(name string, v any) *failure {
	raw, ok := o[name]
	if !ok {
		return nil
	}
	if json.Unmarshal(raw, v) != nil {
		return &failure{invalid, "in its answer " + name + " is of the wrong type"}
	}
	return nil
}

func readObject(answer []byte) (o object, f *failure) {
	if json.Unmarshal(answer, &o) != nil || o == nil {
		return nil, &failure{invalid, "its answer is not a JSON object"}
	}
	return o, nil
}

// readIntrospection reads {active,userId,exp?,guildIds?}. Whoever is not said to be active is not looked at.
func readIntrospection(answer []byte) (id Identity, active bool, f *failure) {
	o, f := readObject(answer)
	if f != nil {
		return id, false, f
	}
	var said *bool
	if f := o.read("active", &said); f != nil {
		return id, false, f
	}
	switch {
	case said == nil:
		return id, false, &failure{invalid, "its answer does not say whether the token is active"}
	case !*said:
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
			return id, false, &failure{invalid, "in its answer exp is not in seconds"}
		}
		id.Expires = time.Unix(max(0, *exp), 0) // before 1970 there is a second that would mean "not said"
	}
	if _, given := o["guildIds"]; given {
		if f := o.read("guildIds", &id.Guilds); f != nil {
			return id, false, f
		}
		if id.Guilds == nil { // null: whether that is all or none is not for us to guess
			return id, false, &failure{invalid, "in its answer guildIds is of the wrong type"}
		}
		// There can be no guild of such an id here.
		id.Guilds = slices.DeleteFunc(id.Guilds, func(g string) bool { return !chat.ValidID(g) })
	}
	return id, true, nil
}

// readAdmin reads {email,userId} or null. A missing half counts as null.
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
