package handlers

import (
	"bytes"
	"net/http"
	"time"

	"fabric-guild/handlers/console"
	"fabric-guild/handlers/docs"
	"fabric-guild/handlers/openclaw"
	"fabric-guild/handlers/web"

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
	serveFile(w, r, f)
	return nil
}

// docs serves the pages for users: the index at /docs, and each page below /docs.
func (s *Server) docs(w http.ResponseWriter, r *http.Request) error {
	f, ok := docs.Open(httprouter.ParamsFromContext(r.Context()).ByName("page"))
	if !ok {
		s.notFound(w, r)
		return nil
	}
	serveFile(w, r, f)
	return nil
}

// llms serves the list of pages for language models: GET /llms.txt.
func (s *Server) llms(w http.ResponseWriter, r *http.Request) error {
	serveFile(w, r, docs.LLMs())
	return nil
}

// openclaw serves the plugin for OpenClaw, as a package of npm: GET /openclaw/plugin.tgz.
func (s *Server) openclaw(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Disposition", `attachment; filename="plugin.tgz"`)
	serveFile(w, r, s.plugin())
	return nil
}

// packPlugin makes the file of the plugin. What it packs is embedded, so an error is a fault of the build.
func packPlugin(version string) web.File {
	body, err := openclaw.Archive(version)
	if err != nil {
		panic(err)
	}
	return web.NewFile("application/gzip", body)
}

// serveFile answers with an embedded file. Clients must revalidate the file each time, and get 304 while the
// file is unchanged.
func serveFile(w http.ResponseWriter, r *http.Request, f web.File) {
	h := w.Header()
	h.Set("Content-Type", f.ContentType)
	h.Set("Content-Security-Policy", console.Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", f.ETag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.Body))
}
