package openclawtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"fabric-guild/handlers/e2e/guildtest"
)

// A model speaks the protocol of OpenAI's chat completions. It answers "heard: " and the words of the request
// that begin with a letter and a number sign, such as a#1, each word in a part of its own.
type model struct {
	*httptest.Server
	t testing.TB

	mu    sync.Mutex
	heard []string        // what the model was asked: the user's texts since its last answer
	held  map[string]bool // words that the model must not answer yet
	fails map[string]bool // words to which it answers with an error
	gone  []string        // requests that OpenClaw gave up
}

func startModel(t testing.TB) *model {
	m := &model{t: t, held: map[string]bool{}, fails: map[string]bool{}}
	m.Server = httptest.NewServer(http.HandlerFunc(m.answer))
	t.Cleanup(func() {
		m.CloseClientConnections()
		m.Close()
	})
	return m
}

// set changes what the model does at a word.
func (m *model) set(words map[string]bool, word string, value bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	words[word] = value
}

// asked returns the requests with this word.
func (m *model) asked(word string) (requests []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, text := range m.heard {
		if strings.Contains(text, word) {
			requests = append(requests, text)
		}
	}
	return requests
}

// awaitAsked blocks until the model has got count requests with this word.
func (m *model) awaitAsked(word string, count int) {
	m.t.Helper()
	what := fmt.Sprintf("the model is asked about %s for the %d. time", word, count)
	guildtest.Eventually(m.t, what, guildtest.Patience, func() bool { return len(m.asked(word)) >= count })
}

// gaveUp reports whether OpenClaw has given up a request with this word.
func (m *model) gaveUp(word string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.gone, func(text string) bool { return strings.Contains(text, word) })
}

func (m *model) answer(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Messages []struct {
			Role    string
			Content json.RawMessage
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var asked strings.Builder
	for _, message := range request.Messages {
		switch message.Role {
		case "assistant":
			asked.Reset()
		case "user":
			text := strings.NewReplacer(`\n`, "\n", `\"`, `"`).Replace(string(message.Content))
			fmt.Fprintln(&asked, text)
		}
	}
	text := asked.String()
	var words []string
	between := func(r rune) bool { return strings.ContainsRune(" \n\"\\<>,", r) }
	for word := range strings.FieldsFuncSeq(text, between) {
		if len(word) > 2 && word[1] == '#' && !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	m.mu.Lock()
	m.heard = append(m.heard, text)
	m.mu.Unlock()

	is := func(set map[string]bool) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return slices.ContainsFunc(words, func(word string) bool { return set[word] })
	}
	if is(m.fails) {
		const ill = `{"error":{"message":"the model is ill","type":"invalid_request_error"}}`
		http.Error(w, ill, http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	say := func(choices ...any) {
		chunk := map[string]any{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake"}
		chunk["choices"] = choices
		if len(choices) == 0 {
			chunk["choices"] = []any{}
			chunk["usage"] = map[string]int{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
		}
		body, _ := json.Marshal(chunk)
		fmt.Fprintf(w, "data: %s\n\n", body)
		_ = http.NewResponseController(w).Flush()
	}
	delta := func(text string) any {
		return map[string]any{"index": 0, "delta": map[string]string{"role": "assistant", "content": text}}
	}
	say(delta("heard:"))
	for _, word := range words { // the model streams, then stalls
		say(delta(" " + word))
	}
	released := func() bool { return r.Context().Err() != nil || !is(m.held) }
	guildtest.Eventually(m.t, "the test lets the model go on", guildtest.Patience, released)
	if r.Context().Err() != nil {
		m.mu.Lock()
		m.gone = append(m.gone, text)
		m.mu.Unlock()
		return
	}
	say(map[string]any{"index": 0, "delta": map[string]string{}, "finish_reason": "stop"})
	say()
	fmt.Fprint(w, "data: [DONE]\n\n")
}
