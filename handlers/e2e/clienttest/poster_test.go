package clienttest

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"fabric-guild/handlers/e2e/guildtest"
)

// A poster posts messages one after the other. It posts each content only once.
type poster struct {
	t    *testing.T
	base string
	load *guildtest.Load // has the channels

	contents     []string        // in order
	acknowledged map[string]bool // contents that the server has certainly stored
}

func newPoster(t *testing.T, n *guildtest.Node) *poster {
	t.Helper()
	return &poster{t: t, base: n.Base(), load: guildtest.NewLoad(t, n), acknowledged: map[string]bool{}}
}

// start posts until stop. stop returns the last acknowledged content.
func (p *poster) start() (stop func() string) {
	quit := make(chan struct{})
	final := make(chan string, 1)
	go func() {
		last := ""
		for tick := time.Tick(20 * time.Millisecond); ; {
			if content, ok := p.post(); ok {
				last = content
			}
			select {
			case <-tick:
			case <-quit:
				final <- last
				return
			case <-p.t.Context().Done():
				return
			}
		}
	}()
	return func() string {
		close(quit)
		return <-final
	}
}

func (p *poster) post() (content string, acknowledged bool) {
	text := fmt.Sprintf("message %d.", len(p.contents))
	status, err := p.load.Post(p.base, p.load.Channels[0], text)
	if err == nil && status != http.StatusCreated && status != http.StatusServiceUnavailable {
		p.t.Errorf("got %d for a post, want 201", status)
	}
	content = guildtest.Sesame + " " + text
	p.contents = append(p.contents, content)
	p.acknowledged[content] = err == nil && status == http.StatusCreated
	return content, p.acknowledged[content]
}

// want returns the contents that a client must have got. These are all acknowledged contents, and those of
// the others that the client did get, because nobody knows whether they were stored.
func (p *poster) want(heard []string) []string {
	return slices.DeleteFunc(slices.Clone(p.contents), func(content string) bool {
		return !p.acknowledged[content] && !slices.Contains(heard, content)
	})
}
