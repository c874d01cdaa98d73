package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/chat"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

type postBody struct {
	Content  string  `json:"content"`
	ReplyTo  *string `json:"replyTo"`
	WakeID   *string `json:"wakeId,omitempty"`
	KeepWake bool    `json:"keepWake,omitempty"`

	// Fields that are absent must not change the hash of a body, which an Idempotency-Key belongs to.
	MentionUserIDs *[]string `json:"mentionUserIds,omitempty"` // nil: the text says whom it mentions
	Wake           *string   `json:"wake,omitempty"`
	IfLast         *string   `json:"ifLast,omitempty"`
}

type wakeup struct {
	UserID string `json:"userId"`
	Reason string `json:"reason"`
}

// maxMentions is how many users a message may mention. The database looks up each of them while later posts
// wait.
const maxMentions = 200

type postAnswer struct {
	id          uuid.UUID       // the id of the message
	Message     json.RawMessage `json:"message"`
	Cursor      events.Cursor   `json:"cursor"`
	Wakeups     []wakeup        `json:"wakeups"` // the first db.WakeupsListed of them
	WakeupCount int             `json:"wakeupCount"`
	Wake        *extendAnswer   `json:"wake,omitempty"` // only with keepWake
	Hints       []hint          `json:"hints,omitempty"`
}

func (s *Server) postMessage(w http.ResponseWriter, r *http.Request) error {
	id, channel, _, err := s.begin(w, r)
	if err != nil {
		return err
	}
	body, err := web.Decode[postBody](w, r)
	if err != nil {
		return err
	}
	reply, err := body.replying()
	if err != nil {
		return err
	}
	body.WakeID, body.KeepWake = nil, false // a repeated request may belong to a new wake
	key, err := requestKey(r, id, body)
	if err != nil {
		return err
	}
	if key != nil { // a kept answer may go only to a caller who may still see the channel
		if _, err := ofMember(r.Context(), s.db.Queries, id, channel); err != nil {
			return s.wakeProblem(hiddenWake(reply, err))
		}
	}
	command, err := s.understand(r.Context(), body.Content, body.MentionUserIDs == nil)
	if err != nil {
		if key == nil {
			return err
		}
		// A name may no longer resolve that resolved when the request first came. If that request has a kept
		// answer, the answer is still valid.
		return s.once(w, r, key, func(context.Context, db.Tx) (int, any, error) { return 0, nil, err })
	}
	if command.Content == "" {
		if wrong := body.besideCommand(reply); wrong != nil {
			return web.Refused(wrong...)
		}
		return s.carryOut(w, r, id, channel, key, command)
	}
	m := db.NewMessage{Guilds: id.Guilds, Reply: reply}
	m.ID = uuid.Must(uuid.NewV7())
	m.ChannelID = channel
	m.AuthorUserID = id.UserID
	m.Content = command.Content
	if err := body.fill(&m); err != nil {
		return err
	}
	if err := s.weigh(w, id.UserID, len(m.Content), len(m.Mentioned)); err != nil {
		return err
	}
	if m.TwoState = s.twoState; !m.TwoState {
		if m.Admin, err = s.adminFor(r.Context(), id, channel); err != nil {
			return err
		}
	}
	return s.moved(r.Context(), id, m, s.storeMessage(w, r, id, key, m))
}

// storeMessage stores a message and answers with it. Without a key it tries db.DB.Post first, which costs
// least. With a key, or if db.DB.Post refuses, it posts in a transaction.
func (s *Server) storeMessage(
	w http.ResponseWriter, r *http.Request, id auth.Identity, key *db.RequestKey, m db.NewMessage,
) error {
	count := s.countFresh(w, m)
	if key == nil {
		if err := count(); err != nil {
			return err
		}
	}
	postIn := func(ctx context.Context, tx db.Tx) (db.Post, error) {
		if err := count(); err != nil {
			return db.Post{}, err
		}
		return s.postIn(ctx, tx, id, m)
	}
	if m.Reply != nil {
		return s.postReply(w, r, id, key, m, postIn)
	}
	if key == nil {
		post, err := s.db.Post(r.Context(), m)
		if err == nil {
			// it is stored, so a missing hint does no harm
			a, _ := s.answer(r.Context(), s.db.Queries, m, post)
			return web.WriteJSON(w, http.StatusCreated, a)
		}
		if !errors.Is(err, db.ErrRefused) {
			return err
		}
	}
	return s.once(w, r, key, func(ctx context.Context, tx db.Tx) (int, any, error) {
		post, err := postIn(ctx, tx)
		if err != nil {
			return 0, nil, err
		}
		a, err := s.answer(ctx, tx.Queries, m, post)
		return http.StatusCreated, a, err
	})
}

// understand parses a text as a command or as a message to post. With names it first resolves the names in
// the text. The error is a *web.Problem for the author of the text.
func (s *Server) understand(ctx context.Context, text string, names bool) (chat.Command, error) {
	var err error
	if names {
		text, err = s.rewritten(ctx, text)
	} else if p := checkContent(text); p != nil {
		err = p
	}
	if err != nil {
		return chat.Command{}, err
	}
	command, err := chat.Parse(text)
	if err != nil {
		p := web.Refused(web.FieldError{Field: "content", Detail: err.Error()})
		p.Code = "command_invalid"
		return command, p
	}
	return command, nil
}

// rewritten returns text with its mentions by name resolved, as it may be stored. The error is a *web.Problem
// if the content is not valid.
func (s *Server) rewritten(ctx context.Context, text string) (string, error) {
	if p := checkContent(text); p != nil {
		return "", p
	}
	var ids map[string]string
	if names := chat.Names(text); len(names) > 0 {
		ids = s.resolve(ctx, names)
	}
	text = chat.Rewrite(text, ids)
	if p := checkContent(text); p != nil { // an id may be longer than the name that it replaces
		return "", p
	}
	return text, nil
}

// resolve returns the user ids of names. A name without a user is not in the result. Without Center, every
// valid name is its own id.
func (s *Server) resolve(ctx context.Context, names []string) map[string]string {
	if s.center != nil {
		return s.center.ResolveNames(ctx, names)
	}
	ids := map[string]string{}
	for _, name := range names {
		if chat.ValidID(name) {
			ids[name] = name
		}
	}
	return ids
}

// postIn posts in a transaction. Such a post costs more than db.DB.Post. It serves channels that take turns,
// requests with a key, and posts that db.DB.Post has refused: postIn finds out why.
func (s *Server) postIn(ctx context.Context, tx db.Tx, id auth.Identity, m db.NewMessage) (db.Post, error) {
	// The x-type decides the kind of lock. It never changes, so it may be read before the lock.
	c, err := ofMember(ctx, tx.Queries, id, m.ChannelID)
	if err != nil {
		return db.Post{}, err
	}
	lock := tx.LockForPost
	if c.XType.TakesTurns() {
		lock = tx.LockForTurn
	}
	if err := lock(ctx, m); err != nil {
		return db.Post{}, err
	}
	if c, err = ofMember(ctx, tx.Queries, id, m.ChannelID); err != nil {
		return db.Post{}, err
	}
	if err := notArchived(c); err != nil {
		return db.Post{}, err
	}
	if c.XType.TakesTurns() && !wakesNobody(m) {
		if m.TurnUserID, err = handOver(ctx, tx, c, m); err != nil {
			return db.Post{}, err
		}
	}
	post, err := tx.Post(ctx, m)
	if errors.Is(err, db.ErrRefused) {
		err = web.Refused(web.FieldError{
			Field:  "replyTo",
			Detail: "is not a message of this channel that you may read",
		})
	}
	return post, err
}

// woken returns the users whom a post wakes, and how many there are. It names db.WakeupsListed of them at
// most. It decides by the same rule as delivery.
func woken(p db.Post) (named []wakeup, count int) {
	candidates := p.Roster // has no duplicates
	if candidates == nil {
		candidates = union(p.MentionUserIDs, p.WakeList)
	}
	if p.TurnUserID != "" {
		candidates = union(candidates, []string{p.TurnUserID})
	}
	facts := p.Facts()
	named = make([]wakeup, 0, min(len(candidates), db.WakeupsListed))
	everyone := false
	for _, user := range candidates {
		outcome, reason := facts.Decide(user)
		if outcome != events.Wake {
			continue
		}
		everyone = everyone || reason == events.Everyone
		if count++; len(named) < db.WakeupsListed {
			named = append(named, wakeup{user, reason.String()})
		}
	}
	if everyone {
		count = p.MemberCount - 1
	}
	return named, count
}

// union returns the users of all lists, in order and without duplicates.
func union(lists ...[]string) (users []string) {
	seen := map[string]bool{}
	for _, list := range lists {
		for _, user := range list {
			if !seen[user] {
				users = append(users, user)
			}
			seen[user] = true
		}
	}
	return users
}

func (s *Server) history(w http.ResponseWriter, r *http.Request) error {
	id, channel, q, err := s.begin(w, r, "before", "after", "limit")
	if err != nil {
		return err
	}
	asked, err := web.PageLimit(q)
	if err != nil {
		return err
	}
	c, err := ofMember(r.Context(), s.db.Queries, id, channel)
	if err != nil {
		return err
	}
	h := db.History{Channel: channel, User: id.UserID, All: c.History == "all", Limit: asked + 1}
	if h.Before, err = s.placeOf(r, id, c, "before", q.Get("before")); err != nil {
		return err
	}
	if h.After, err = s.placeOf(r, id, c, "after", q.Get("after")); err != nil {
		return err
	}
	p := web.Page{Limit: asked}
	err = s.db.ListMessages(r.Context(), h, func(m db.StoredMessage) bool {
		return p.Add(decided(m, c, id.UserID), m.ID.String())
	})
	if err != nil {
		return err
	}
	return p.Write(w)
}

// placeOf returns the position in the event log of the message that a parameter names, or 0 if the parameter
// is absent. The error is a *web.Problem if the message is not one that the caller may see in this channel.
func (s *Server) placeOf(r *http.Request, id auth.Identity, c db.Channel, name, value string) (int64, error) {
	if value == "" {
		return 0, nil
	}
	wrong := web.Malformed(web.FieldError{Field: name, Detail: "must be the id of a message of this channel"})
	message, ok := web.ParseID(value)
	if !ok {
		return 0, wrong
	}
	m, err := s.db.Message(r.Context(), message, id.UserID)
	if errors.Is(err, db.ErrNotFound) ||
		err == nil && (m.ChannelID != c.ID || m.In == nil && c.History != "all") {
		return 0, wrong
	}
	return m.Seq, err
}
