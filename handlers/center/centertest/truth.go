package centertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"time"
)

// A Token is the answer of introspection for an active token.
type Token struct {
	UserID  string
	Expires time.Time // in whole seconds; omitted if zero
	Guilds  []string  // omitted if nil

	Kind, DisplayName string // omitted if empty
	IssuedAt          time.Time
}

type admin struct {
	Email  string `json:"email,omitempty"`
	UserID string `json:"userId,omitempty"`
}

// SetToken makes a token active with this answer, or replaces its answer.
func (s *Server) SetToken(token string, is Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = is
}

// Revoke makes a token inactive, like an unknown token.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, token)
}

// SetNames replaces the known names and their user ids.
func (s *Server) SetNames(names map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = maps.Clone(names)
}

// SetAdmin sets the admin. An empty email or userID is omitted from the answer.
func (s *Server) SetAdmin(email, userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admin = &admin{email, userID}
}

// RemoveAdmin makes the answer null. This is also the initial state.
func (s *Server) RemoveAdmin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admin = nil
}

// answers returns the function that answers an endpoint correctly, or nil for an unknown endpoint.
func (s *Server) answers(e Endpoint) func(w http.ResponseWriter, body []byte) {
	switch e {
	case Introspect:
		return s.introspect
	case ResolveNames:
		return s.resolveNames
	case AdminEmail:
		return s.adminEmail
	}
	return nil
}

func (s *Server) introspect(w http.ResponseWriter, body []byte) {
	var question struct{ Token string }
	if !s.read(w, body, &question) {
		return
	}
	s.mu.Lock()
	is, active := s.tokens[question.Token]
	s.mu.Unlock()
	if !active {
		s.write(w, map[string]any{"active": false})
		return
	}
	answer := map[string]any{"active": true, "userId": is.UserID, "scope": "guild"}
	if !is.Expires.IsZero() {
		answer["exp"] = is.Expires.Unix()
	}
	if is.Guilds != nil {
		answer["guildIds"] = is.Guilds
	}
	for name, value := range map[string]string{"kind": is.Kind, "displayName": is.DisplayName} {
		if value != "" {
			answer[name] = value
		}
	}
	if !is.IssuedAt.IsZero() {
		answer["iat"] = is.IssuedAt.Unix()
	}
	s.write(w, answer)
}

func (s *Server) resolveNames(w http.ResponseWriter, body []byte) {
	var question struct{ Names []string }
	if !s.read(w, body, &question) {
		return
	}
	found := map[string]string{}
	s.mu.Lock()
	for _, name := range question.Names {
		if id, ok := s.names[name]; ok {
			found[name] = id
		}
	}
	s.mu.Unlock()
	s.write(w, found)
}

func (s *Server) adminEmail(w http.ResponseWriter, body []byte) {
	if len(body) > 0 {
		s.t.Errorf("a GET has a body of %d bytes", len(body))
	}
	s.mu.Lock()
	is := s.admin
	s.mu.Unlock()
	s.write(w, is)
}

// read decodes a question. A question that Center would not understand is an error of the test.
func (s *Server) read(w http.ResponseWriter, body []byte, question any) bool {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err := dec.Decode(question)
	if err == nil && reflect.ValueOf(question).Elem().IsZero() {
		err = errors.New("it is empty")
	}
	if err != nil {
		s.t.Errorf("the question is malformed: %v", err)
		w.WriteHeader(http.StatusBadRequest)
		return false
	}
	return true
}

func (s *Server) write(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil && !isGone(err) {
		s.t.Errorf("write the answer: %v", err)
	}
}
