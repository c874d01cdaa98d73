package handlers

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/chat"
	"fabric-guild/handlers/web"
)

const (
	maxSearch     = 1000 // bytes of a query
	defaultHits   = 20
	maxHits       = 50
	snippetLength = 400 // characters; a word may be as long as a message

	// A search can keep Postgres busy for as long as it takes. So few run at once: the others wait.
	searchesAtOnce                = 2
	searchesOfOne, searchesQueued = 1, 8 // of one user
)

type searchAnswer struct {
	Items []searchItem `json:"items"`
	// Next says where the search goes on; nil: it has looked at everything.
	Next *string `json:"next"`
	// IndexedTo is the position up to which messages can be found.
	IndexedTo events.Cursor `json:"indexedTo"`
}

type searchItem struct {
	Channel events.Channel `json:"channel"`
	Message events.Message `json:"message"`
	Snippet []snippetPart  `json:"snippet"`
}

// A snippetPart is a piece of a message's text, as it is: not HTML.
type snippetPart struct {
	Text string `json:"text"`
	Hit  bool   `json:"hit,omitempty"`
}

// search finds messages by their words: GET /api/search.
func (s *Server) search(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	q, err := web.Query(r, "q", "guildId", "channelId", "author", "before", "limit")
	if err != nil {
		return err
	}
	answer, err := s.find(r.Context(), recorderOf(w), id, q)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, answer)
}

// enterSearch waits for the places that a search needs. The caller must call leave once.
func (s *Server) enterSearch(ctx context.Context, user string) (leave func(), err error) {
	leaveOwn, err := s.searching.Enter(ctx, user)
	if err != nil {
		return nil, err
	}
	select {
	case s.searches <- struct{}{}:
	case <-ctx.Done():
		leaveOwn()
		return nil, ctx.Err()
	}
	done, err := s.db.Reading(ctx) // only now: searches that wait must not take the places of other reads
	if err != nil {
		<-s.searches
		leaveOwn()
		return nil, err
	}
	return func() {
		done()
		<-s.searches
		leaveOwn()
	}, nil
}

// find waits until it may search, and searches. It gives back its places before it returns: the client may
// take the answer slowly. rec is the recorder of the request.
func (s *Server) find(
	ctx context.Context, rec *recorder, id auth.Identity, q url.Values,
) (answer searchAnswer, err error) {
	waiting := time.Now()
	leave, err := s.enterSearch(ctx, id.UserID)
	rec.waited(waiting)
	if err != nil {
		return answer, err
	}
	defer leave()
	find, err := s.searchOf(ctx, id, q)
	if err != nil {
		return answer, err
	}
	all, words, indexed, err := s.db.SearchScope(ctx, id.UserID, id.Guilds, q.Get("guildId"), find.Query)
	if err != nil {
		return answer, err
	}
	if words == 0 {
		return answer, web.Refused(web.FieldError{Field: "q", Detail: "has no word to search for"})
	}
	if find.Channels == nil {
		find.Channels = all
	}
	hits, next, err := s.db.Search(ctx, find)
	if err != nil {
		return answer, err
	}
	answer = searchAnswer{Items: []searchItem{}, IndexedTo: indexed}
	for _, h := range hits {
		answer.Items = append(answer.Items, searchItem{h.Channel.Channel, h.Message, snippetParts(h.Snippet)})
	}
	if next > 0 {
		place := strconv.FormatInt(next, 10)
		answer.Next = &place
	}
	return answer, nil
}

// searchOf checks the parameters. Channels of the result is nil if the caller names none.
func (s *Server) searchOf(ctx context.Context, id auth.Identity, q url.Values) (find db.Search, err error) {
	find = db.Search{User: id.UserID, Query: q.Get("q"), Author: q.Get("author")}
	switch {
	case len(find.Query) > maxSearch:
		return find, web.Malformed(
			web.FieldError{Field: "q", Detail: "must have " + strconv.Itoa(maxSearch) + " bytes at most"},
		)
	case !utf8.ValidString(find.Query) || strings.ContainsRune(find.Query, 0):
		return find, web.Malformed(web.FieldError{Field: "q", Detail: "must be UTF-8 without NUL"})
	}
	var wrong []web.FieldError
	for _, name := range []string{"guildId", "author"} {
		if value := q.Get(name); value != "" && !chat.ValidID(value) {
			wrong = append(wrong, checkID(name, value)...)
		}
	}
	if len(wrong) > 0 {
		return find, web.Malformed(wrong...)
	}
	if find.Limit, err = web.Int(q, "limit", defaultHits, 1, maxHits); err != nil {
		return find, err
	}
	if find.Before, err = s.searchPlace(ctx, id, q.Get("before")); err != nil {
		return find, err
	}
	name := q.Get("channelId")
	if name == "" {
		return find, nil
	}
	channel, ok := web.ParseID(name)
	if !ok {
		return find, web.Malformed(web.FieldError{Field: "channelId", Detail: "must be the id of a channel"})
	}
	c, err := ofMember(ctx, s.db.Queries, id, channel)
	if err != nil {
		return find, err
	}
	find.Channels = []db.SearchChannel{}
	if guild := q.Get("guildId"); guild == "" || guild == c.GuildID {
		find.Channels = append(find.Channels, db.SearchChannel{ID: c.ID, Whole: c.History == "all"})
	}
	return find, nil
}

// searchPlace reads the parameter before: the next of an earlier page, or the id of a message that the caller
// may read. 0: it is absent.
func (s *Server) searchPlace(ctx context.Context, id auth.Identity, before string) (int64, error) {
	if before == "" {
		return 0, nil
	}
	if message, ok := web.ParseID(before); ok {
		if m, _, err := seen(ctx, s.db.Queries, id, message); err == nil {
			return m.Seq, nil
		}
	} else if n, err := strconv.ParseInt(before, 10, 64); err == nil && n > 0 &&
		strconv.FormatInt(n, 10) == before {
		return n, nil
	}
	return 0, web.Malformed(
		web.FieldError{Field: "before", Detail: "must be the value of next in an earlier page, or the id " +
			"of a message that you may read"},
	)
}

// snippetParts splits a snippet at its marks. It cuts a snippet that is too long.
func snippetParts(marked string) []snippetPart {
	parts := []snippetPart{}
	left := snippetLength
	for hit := false; marked != "" && left > 0; hit = !hit {
		mark := db.MarkBegin
		if hit {
			mark = db.MarkEnd
		}
		var text string
		text, marked, _ = strings.Cut(marked, mark)
		if n := utf8.RuneCountInString(text); n > left {
			text = string([]rune(text)[:left]) + "…"
			left = 0
		} else {
			left -= n
		}
		if text != "" {
			parts = append(parts, snippetPart{text, hit})
		}
	}
	return parts
}
