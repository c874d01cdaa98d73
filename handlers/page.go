package handlers

import (
	"net/http"

	"fabric-guild/handlers/console"
	"fabric-guild/handlers/docs"

	"github.com/julienschmidt/httprouter"
)

// page serves the console: index.html at /, and its other files below /console.
func (s *Server) page(w http.ResponseWriter, r *http.Request) error {
	name := "index.html"
	if r.URL.Path != "/" {
		name = httprouter.ParamsFromContext(r.Context()).ByName("file")
	}
	f, ok := console.Open(name)
	if !ok {
		s.notFound(w, r)
		return nil
	}
	f.Serve(w, r, console.Policy)
	return nil
}

// docs serves the pages for users: the index at /docs, and each page below /docs.
func (s *Server) docs(w http.ResponseWriter, r *http.Request) error {
	f, ok := docs.Open(httprouter.ParamsFromContext(r.Context()).ByName("page"))
	if !ok {
		s.notFound(w, r)
		return nil
	}
	f.Serve(w, r, console.Policy)
	return nil
}

// llms serves the list of pages for language models: GET /llms.txt.
func (s *Server) llms(w http.ResponseWriter, r *http.Request) error {
	docs.LLMs().Serve(w, r, console.Policy)
	return nil
}
