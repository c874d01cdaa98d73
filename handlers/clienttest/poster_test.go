package clienttest

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"fabric-guild/handlers/guildtest"
)

// A poster posts messages, each content once, one after the other.
type poster struct {
	t    *testing.T
	base string
	load *guildtest.Load // where the channels are

	contents     []string        // in order
	acknowledged map[string]bool // those that are certainly there
}

func newPoster(t *testing.T, n *guildtest.Node) *poster {
	t.Helper()
	return &poster{t: t, base: n.Base(), load: guildtest.NewLoad(t, n), acknowledged: map[string]bool{}}
}

// start posts until stop is called, which returns the last content that was acknowledged.
func (p *poster) start() (stop func() string) {
	quit, final := make(chan struct{}), make(chan string, 1)
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

// want is what is to be heard: what was acknowledged, and of the rest what was heard, for nobody knows
// whether that was posted.
func (p *poster) want(heard []string) []string {
	return slices.DeleteFunc(slices.Clone(p.contents), func(content string) bool {
		return !p.acknowledged[content] && !slices.Contains(heard, content)
	})
}
