package web

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxBody limits the size of a request's body, in bytes.
const MaxBody = 64 << 10

// Decode reads the JSON object in a request's body into a T. T must be a struct whose fields are strings,
// whole numbers, bools, lists of strings, or pointers to these. Field names must match exactly, in upper and
// lower case too. Decode refuses unknown fields, repeated fields, and anything after the object. A field that
// may be absent must be a pointer, a slice or a bool. An error is always a *Problem.
func Decode[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var v T
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || !isUTF8(params["charset"]) {
		return v, NewProblem(http.StatusUnsupportedMediaType, "unsupported_media_type",
			"send Content-Type: application/json")
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return v, NewProblem(http.StatusUnsupportedMediaType, "unsupported_media_type",
			"send the body as it is, without Content-Encoding")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return v, NewProblem(http.StatusRequestEntityTooLarge, "body_too_large",
			"a body has %d bytes at most", MaxBody)
	}
	if err != nil {
		return v, NewProblem(http.StatusBadRequest, "malformed",
			"the body did not arrive completely, or not in time")
	}
	err = decodeObject(body, reflect.ValueOf(&v).Elem())
	return v, err
}

// isUTF8 reports whether a charset is UTF-8. It accepts the name utf-8 and the common label utf8 (WHATWG
// Encoding §4.2). An absent charset counts as UTF-8.
func isUTF8(charset string) bool {
	return charset == "" || strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8")
}

// decodeObject fills the struct v from a JSON object. It reports all wrong fields in one *Problem, so that a
// client's author can fix them at once.
func decodeObject(body []byte, v reflect.Value) error {
	if !utf8.Valid(body) {
		return NewProblem(http.StatusBadRequest, "malformed", "the body is not UTF-8")
	}
	members, err := objectMembers(body)
	if err != nil {
		return err
	}
	var wrong []FieldError
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		field := v.Field(i)
		optional := slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Bool},
			field.Kind())
		raw, given := members[name]
		delete(members, name)
		switch {
		case !given && optional, given && field.Kind() == reflect.Pointer && string(raw) == "null":
		case !given:
			wrong = append(wrong, FieldError{name, "is missing"})
		case string(raw) == "null" || json.Unmarshal(raw, field.Addr().Interface()) != nil,
			isList(field.Type()) && hasNull(raw):
			wrong = append(wrong, FieldError{name, "must be " + describe(field.Type())})
		}
	}
	for name := range members {
		wrong = append(wrong, FieldError{name, "is not known here"})
	}
	if len(wrong) > 0 {
		return Malformed(sorted(wrong)...)
	}
	return nil
}

func isList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer && isList(t.Elem())
}

// hasNull reports whether a list of strings has a null, for which json.Unmarshal stores an empty string.
func hasNull(list json.RawMessage) bool {
	var values []*string
	return json.Unmarshal(list, &values) == nil && slices.Contains(values, nil)
}

// describe names a field's type for an error text.
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
