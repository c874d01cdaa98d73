package handlers

import (
	_ "embed"
	"net/http"

	"fabric-guild/handlers/web"
)

// document describes the API as OpenAPI 3.1, with its events and error codes. Tests compare it with the
// routes, and check every answer and every event that they receive against it.
//
//go:embed openapi.json
var document []byte

// contract serves the document: GET /openapi.json.
func (s *Server) contract(w http.ResponseWriter, r *http.Request) error {
	if _, err := web.Query(r); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, err := w.Write(document)
	return err
}
