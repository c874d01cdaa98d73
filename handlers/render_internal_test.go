package handlers

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
)

// The server renders a text once while its HTML is remembered.
func TestRenderedIsRemembered(t *testing.T) {
	t.Parallel()
	var c rendered
	if got, want := c.of("*hi*"), "<p><em>hi</em></p>\n"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	key := sha256.Sum256([]byte("*hi*"))
	if _, ok := c.find(key); !ok {
		t.Fatal("got nothing for a text that was rendered before")
	}
	c.newer[key] = "remembered"
	if got := c.of("*hi*"); got != "remembered" {
		t.Errorf("got %q: the text was rendered again", got)
	}
}

// The cache has two generations of at most renderedBytes and one entry. A text that is asked for again and
// again stays; the others go.
func TestRenderedIsBounded(t *testing.T) {
	t.Parallel()
	const size, most = 16 << 10, 2 * (renderedBytes + 32<<10)
	var c rendered
	c.of("*hi*")
	hi, first := sha256.Sum256([]byte("*hi*")), sha256.Sum256([]byte("text 0"))
	large := strings.Repeat("x", size)
	for i := range 5 * renderedBytes / size {
		c.add(sha256.Sum256(fmt.Append(nil, "text ", i)), large)
		if _, ok := c.find(hi); !ok {
			t.Fatalf("after %d texts, one that is asked for after each of them has gone", i+1)
		}
		held := 0
		for _, generation := range []map[[sha256.Size]byte]string{c.newer, c.older} {
			for _, made := range generation {
				held += len(made)
			}
		}
		if held > most {
			t.Fatalf("got %d bytes of HTML after %d texts, want at most %d", held, i+1, most)
		}
	}
	if _, ok := c.find(first); ok {
		t.Error("got the HTML of the first text after five generations of others")
	}
}

// Texts without HTML fill the cache too, because each entry has a key.
func TestRenderedBoundsItsEntries(t *testing.T) {
	t.Parallel()
	const most = 2 * (renderedBytes/128 + 2)
	var c rendered
	for i := range 3 * renderedBytes / 128 {
		c.add(sha256.Sum256(fmt.Append(nil, i)), "")
		if got := len(c.newer) + len(c.older); got > most {
			t.Fatalf("got %d entries, want at most %d", got, most)
		}
	}
}
