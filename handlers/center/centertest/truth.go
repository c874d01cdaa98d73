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

// A Token is what introspection tells of an active token.
type Token struct {
	UserID  string
	Expires time.Time // to the second; zero: not said
	Guilds  []string  // nil: not said
}

type admin struct {
	Email  string `json:"email,omitempty"`
	UserID string `json:"userId,omitempty"`
}

// SetToken makes a token active, or changes whose it is.
func (s *Server) SetToken(token string, is Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = is
}

// Revoke makes a token inactive, as every unknown one is.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, token)
}

// SetNames makes these the names that are known, with their user ids.
func (s *Server) SetNames(names map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = maps.Clone(names)
}

// SetAdmin sets the admin. An empty half is left out of the answer.
func (s *Server) SetAdmin(email, userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admin = &admin{email, userID}
}

// RemoveAdmin makes the answer null, as it is at first.
func (s *Server) RemoveAdmin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admin = nil
}

// answers is what answers an endpoint truly, nil for an unknown one.
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
	said := map[string]any{"active": true, "userId": is.UserID, "scope": "guild"}
	if !is.Expires.IsZero() {
		said["exp"] = is.Expires.Unix()
	}
	if is.Guilds != nil {
		said["guildIds"] = is.Guilds
	}
	s.write(w, said)
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

// read reads a question; one that Center would not understand is an error of the test.
func (s *Server) read(w http.ResponseWriter, body []byte, question any) bool {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	err := dec.Decode(question)
	if err == nil && reflect.ValueOf(question).Elem().IsZero() {
		err = errors.New("it asks for nothing")
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
