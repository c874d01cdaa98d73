package web

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// wrapper is a middleware's ResponseWriter that knows nothing of observers.
type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// watching is an Observer that keeps the codes, and whether the answer had begun before.
type watching struct {
	*httptest.ResponseRecorder
	codes []string
	late  bool
}

func (w *watching) Answering(code string) {
	w.codes = append(w.codes, code)
	w.late = w.late || w.Body.Len() > 0
}

// Every answer tells the Observer before its body, also through the writers of other middleware.
func TestObserversLearnOfAnswers(t *testing.T) {
	t.Parallel()
	for code, answer := range map[string]func(http.ResponseWriter){
		"": func(w http.ResponseWriter) { _ = WriteJSON(w, http.StatusOK, "x") },
		"not_found": func(w http.ResponseWriter) {
			WriteProblem(w, NewProblem(http.StatusNotFound, "not_found", "x"))
		},
	} {
		w := &watching{ResponseRecorder: httptest.NewRecorder()}
		answer(wrapper{wrapper{w}})
		if len(w.codes) != 1 || w.codes[0] != code || w.late {
			t.Errorf("got the codes %q, late: %v, want %q once, before the body", w.codes, w.late, code)
		}
	}
	if _, ok := Find[Observer](wrapper{httptest.NewRecorder()}); ok {
		t.Error("got an Observer, want none")
	}
}
