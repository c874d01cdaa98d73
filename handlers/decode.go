package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"fabric-guild/events"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 64 << 10

// decode reads a request's JSON object into T, a struct whose fields are all plain values. Names are exact:
// unknown ones, doubled ones and other spellings are refused, as is anything behind the object. A field
// that may be absent is a pointer, a slice or a bool.
func decode[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var v T
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || !isUTF8(params["charset"]) {
		return v, newProblem(http.StatusUnsupportedMediaType, "unsupported_media_type", "send Content-Type: application/json")
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return v, newProblem(http.StatusUnsupportedMediaType, "unsupported_media_type", "send the body as it is, without Content-Encoding")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return v, newProblem(http.StatusRequestEntityTooLarge, "body_too_large", "a body holds at most %d bytes", maxBody)
	}
	if err != nil {
		return v, newProblem(http.StatusBadRequest, "malformed", "the body did not arrive whole, or not in time")
	}
	err = decodeObject(body, reflect.ValueOf(&v).Elem())
	return v, err
}

// isUTF8 reports whether a charset is UTF-8, by its name or by the label that many write (WHATWG Encoding §4.2).
// No charset at all is UTF-8.
func isUTF8(charset string) bool {
	return charset == "" || strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8")
}

func decodeObject(body []byte, v reflect.Value) error {
	if !utf8.Valid(body) {
		return newProblem(http.StatusBadRequest, "malformed", "the body is not UTF-8")
	}
	members, err := objectMembers(body)
	if err != nil {
		return err
	}
	var wrong []fieldError
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		field := v.Field(i)
		optional := slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Bool}, field.Kind())
		raw, given := members[name]
		delete(members, name)
		switch {
		case !given && optional, given && field.Kind() == reflect.Pointer && string(raw) == "null":
		case !given:
			wrong = append(wrong, fieldError{name, "is missing"})
		case string(raw) == "null" || json.Unmarshal(raw, field.Addr().Interface()) != nil:
			wrong = append(wrong, fieldError{name, "must be " + describe(field.Type())})
		}
	}
	for name := range members {
		wrong = append(wrong, fieldError{name, "is not known here"})
	}
	if len(wrong) > 0 {
		return malformed(sorted(wrong)...)
	}
	return nil
}

// objectMembers splits an object into its members, and refuses anything else.
func objectMembers(body []byte) (map[string]json.RawMessage, error) {
	bad := newProblem(http.StatusBadRequest, "malformed", "the body is not one JSON object")
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, bad
	}
	members := map[string]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, bad
		}
		name := key.(string) // the decoder has seen to that
		if _, twice := members[name]; twice {
			return nil, malformed(fieldError{name, "is given twice"})
		}
		var raw json.RawMessage
		if dec.Decode(&raw) != nil {
			return nil, bad
		}
		members[name] = raw
	}
	if _, err := dec.Token(); err != nil {
		return nil, bad
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, bad
	}
	return members, nil
}

func describe(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return describe(t.Elem())
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.Slice:
		return "a list of strings"
	}
	return "a string"
}

// query returns a request's parameters, each given once at most, and refuses those that are not allowed.
// "_" is let through: scripts add it to get around caches.
func query(r *http.Request, allowed ...string) (url.Values, error) {
	if err := noTokenInQuery(r); err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "malformed", "the query string cannot be read")
	}
	var wrong []fieldError
	for name, given := range values {
		switch {
		case name == "_":
		case !slices.Contains(allowed, name):
			wrong = append(wrong, fieldError{name, "is not a parameter here"})
		case len(given) > 1:
			wrong = append(wrong, fieldError{name, "is given twice"})
		}
	}
	if len(wrong) > 0 {
		return nil, malformed(sorted(wrong)...)
	}
	return values, nil
}

// noTokenInQuery refuses a token in a URL, whatever else is wrong.
func noTokenInQuery(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	values, _ := url.ParseQuery(r.URL.RawQuery) // what can be read of it
	for name := range values {
		if slices.Contains([]string{"token", "access_token", "authorization"}, strings.ToLower(name)) {
			return newProblem(http.StatusBadRequest, "token_in_query",
				"a token in a URL ends up in logs: send it as Authorization: Bearer, and make a new one")
		}
	}
	return nil
}

func sorted(wrong []fieldError) []fieldError {
	slices.SortFunc(wrong, func(a, b fieldError) int { return strings.Compare(a.Field, b.Field) })
	return wrong
}

// encode returns v as one line of JSON for every reader (events.OneLine), with mentions as they were written.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return events.OneLine(b.Bytes()), err
}
