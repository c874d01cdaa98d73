package web

import "net/http"

// An Observer is a ResponseWriter that wants to know when an answer begins. WriteProblem and Write call
// Answering before they write the status. code is the code of the problem, or "" for an answer that is no
// problem.
type Observer interface {
	http.ResponseWriter
	Answering(code string)
}

// Find returns the ResponseWriter of type T inside w, which other middleware may have wrapped. It follows the
// Unwrap methods, as http.ResponseController does. ok is false if there is none.
func Find[T any](w http.ResponseWriter) (found T, ok bool) {
	for {
		if found, ok = w.(T); ok {
			return found, true
		}
		wrapped, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return found, false
		}
		w = wrapped.Unwrap()
	}
}
