package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
)

// maxFields limits the fields of a body. No request has nearly as many. Without the limit, a body of 64 KiB
// can have 7,000 unknown fields, and reading them takes longer than most requests.
const maxFields = 100

// objectMembers splits a JSON object in UTF-8 into its members, which share the memory of body. It refuses a
// body that is anything else, a member that is given twice, more than maxFields members, and anything after
// the object.
func objectMembers(body []byte) (map[string]json.RawMessage, error) {
	rest := afterSpace(body)
	if !json.Valid(body) || rest[0] != '{' {
		return nil, NewProblem(http.StatusBadRequest, "malformed", "the body is not one JSON object")
	}
	members := map[string]json.RawMessage{}
	for rest = afterSpace(rest[1:]); rest[0] != '}'; {
		end := valueEnd(rest)
		name, err := fieldName(rest[:end])
		if err != nil {
			return nil, err
		}
		if _, twice := members[name]; twice {
			return nil, Malformed(FieldError{name, "is given twice"})
		}
		rest = afterSpace(rest[end:])
		rest = afterSpace(rest[1:]) // the colon
		end = valueEnd(rest)
		members[name] = rest[:end]
		if len(members) > maxFields {
			tooMany := fmt.Sprintf("is one field too many: a body has at most %d", maxFields)
			return nil, Malformed(FieldError{name, tooMany})
		}
		rest = afterSpace(rest[end:])
		if rest[0] == ',' {
			rest = afterSpace(rest[1:])
		}
	}
	return members, nil
}

// fieldName decodes a JSON string.
func fieldName(raw []byte) (name string, err error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	err = json.Unmarshal(raw, &name)
	return name, err
}

// afterSpace returns b without the spaces before a JSON token.
func afterSpace(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }

// valueEnd returns the length of the JSON value that b begins with. What follows must be valid JSON.
func valueEnd(b []byte) int {
	depth := 0
	inText := false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
			if !inText && depth == 0 {
				return i + 1
			}
		case inText:
		case c == '{' || c == '[':
			depth++
		case depth == 0 && bytes.IndexByte([]byte(" \t\r\n,:}]"), c) >= 0: // after a number or a name
			return i
		case c == '}' || c == ']':
			depth--
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(b)
}
