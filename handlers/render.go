package handlers

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"sync"

	"fabric-guild/handlers/markdown"
	"fabric-guild/handlers/web"
)

// maxRendered is how many texts one request may have rendered. A page of a history has as many.
const maxRendered = 200

// render answers with the HTML of texts: POST /api/render.
func (s *Server) render(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.caller(w, r); err != nil {
		return err
	}
	if _, err := web.Query(r); err != nil {
		return err
	}
	body, err := web.Decode[struct {
		Contents []string `json:"contents"`
	}](w, r)
	if err != nil {
		return err
	}
	if n := len(body.Contents); n == 0 || n > maxRendered {
		return web.Malformed(web.FieldError{
			Field:  "contents",
			Detail: fmt.Sprintf("must be 1 to %d texts", maxRendered),
		})
	}
	for _, content := range body.Contents {
		if len(content) > maxContent {
			return web.NewProblem(http.StatusUnprocessableEntity, "content_too_long",
				"a message has %d bytes at most; one of these has %d", maxContent, len(content))
		}
	}
	answer := struct {
		HTML []string `json:"html"`
	}{make([]string, len(body.Contents))}
	for i, content := range body.Contents {
		answer.HTML[i] = s.rendered.of(content)
	}
	return web.WriteJSON(w, http.StatusOK, answer)
}

// rendered remembers the HTML of texts that were rendered recently, because many users look at the same
// messages. It has two generations: when the newer one is full, it becomes the older one. The zero value is
// ready.
type rendered struct {
	mu           sync.Mutex
	newer, older map[[sha256.Size]byte]string
	size         int // bytes of HTML in newer
}

// renderedBytes bounds a generation.
const renderedBytes = 4 << 20

// of returns the HTML of a text.
func (c *rendered) of(text string) string {
	key := sha256.Sum256([]byte(text))
	if made, ok := c.find(key); ok {
		return made
	}
	made := markdown.HTML(text)
	c.add(key, made)
	return made
}

func (c *rendered) find(key [sha256.Size]byte) (made string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if made, ok = c.newer[key]; ok {
		return made, true
	}
	if made, ok = c.older[key]; ok {
		c.addLocked(key, made)
	}
	return made, ok
}

func (c *rendered) add(key [sha256.Size]byte, made string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(key, made)
}

func (c *rendered) addLocked(key [sha256.Size]byte, made string) {
	const overhead = 128 // of an entry
	if c.newer == nil || c.size > renderedBytes {
		c.older, c.newer, c.size = c.newer, map[[sha256.Size]byte]string{}, 0
	}
	if _, ok := c.newer[key]; !ok {
		c.newer[key] = made
		c.size += overhead + len(made)
	}
}
