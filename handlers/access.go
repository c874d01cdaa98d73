package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

// begin does what every request about one channel begins with: it identifies the caller, checks the query
// against the allowed params, and parses the channel's id. The error is a *web.Problem, or a fault of the
// server.
func (s *Server) begin(
	w http.ResponseWriter, r *http.Request, params ...string,
) (id auth.Identity, channel uuid.UUID, q url.Values, err error) {
	if id, err = s.caller(w, r); err != nil {
		return id, channel, nil, err
	}
	if q, err = web.Query(r, params...); err != nil {
		return id, channel, nil, err
	}
	channel, err = channelID(r)
	return id, channel, q, err
}

// A change changes a channel in a transaction that holds the channel's lock, and returns the cursor of its
// event. c is the channel as the caller sees it. A change may run twice, because db.DB.InTx may run it again.
type change func(ctx context.Context, tx db.Tx, c *db.Channel) (events.Cursor, error)

// changeChannel runs do for a caller who is a member. It returns the channel after the change, and the cursor
// of do.
func (s *Server) changeChannel(
	ctx context.Context, id auth.Identity, channel uuid.UUID, do change,
) (db.Channel, events.Cursor, error) {
	return s.changeAs(ctx, id, channel, ofMember, do)
}

// changeAs is like changeChannel, but stand decides whether the caller has access.
func (s *Server) changeAs(
	ctx context.Context, id auth.Identity, channel uuid.UUID, stand standing, do change,
) (c db.Channel, at events.Cursor, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if c, err = hold(ctx, tx, id, channel, stand); err != nil {
			return err
		}
		at, err = do(ctx, tx, &c)
		return err
	})
	if err == nil {
		s.standings.change(channel, at)
	}
	return c, at, err
}

// hold checks access with stand, takes the channel's lock, and checks again under the lock. The first check
// keeps strangers from taking locks and so from delaying other users. hold blocks until the lock is free.
func hold(
	ctx context.Context, tx db.Tx, id auth.Identity, channel uuid.UUID, stand standing,
) (db.Channel, error) {
	if c, err := stand(ctx, tx.Queries, id, channel); err != nil {
		return c, err
	}
	if err := tx.LockChannel(ctx, channel); err != nil {
		return db.Channel{}, err
	}
	return stand(ctx, tx.Queries, id, channel)
}

// look returns the channel for a request that only reads the channel. It allows no query parameters.
func (s *Server) look(w http.ResponseWriter, r *http.Request) (db.Channel, error) {
	id, channel, _, err := s.begin(w, r)
	if err != nil {
		return db.Channel{}, err
	}
	return visible(r.Context(), s.db.Queries, id, channel)
}

// A standing checks whether the caller has access to a channel, and returns the channel as the caller sees
// it. The error is a *web.Problem if the caller has no access.
type standing func(ctx context.Context, q db.Queries, id auth.Identity, channel uuid.UUID) (db.Channel, error)

// visible returns a channel as the caller sees it. It answers channel_not_found both for a channel that does
// not exist and for one that is hidden from the caller: a channel of a guild that the token is not for, or a
// private channel or dm of which the caller is not a member.
func visible(ctx context.Context, q db.Queries, id auth.Identity, channel uuid.UUID) (db.Channel, error) {
	c, err := q.Channel(ctx, channel, id.UserID)
	if err != nil {
		if errors.Is(err, db.ErrNotFound) {
			return c, channelNotFound()
		}
		return c, err
	}
	if !id.MayEnter(c.GuildID) || c.JoinedSeq == nil && (c.Private || c.XType == events.DM) {
		return c, channelNotFound()
	}
	return c, nil
}

// ofMember is like visible, but the caller must also be a member. Otherwise the error is not_member.
func ofMember(ctx context.Context, q db.Queries, id auth.Identity, channel uuid.UUID) (db.Channel, error) {
	c, err := visible(ctx, q, id, channel)
	if err == nil && c.JoinedSeq == nil {
		err = web.NewProblem(http.StatusForbidden, "not_member",
			"you are not a member of this channel; join it first")
	}
	return c, err
}

// maySteer returns an error unless the caller is the channel's creator, or the creator has left the channel.
// The caller must already be known to be a member.
func maySteer(c db.Channel, id auth.Identity) error {
	if c.CreatorIn && c.CreatedBy != id.UserID {
		return web.NewProblem(http.StatusForbidden, "not_creator",
			"only the channel's creator may do this, until the creator leaves the channel")
	}
	return nil
}

func notDM(c db.Channel) error {
	if c.XType == events.DM {
		return web.NewProblem(http.StatusUnprocessableEntity, "dm_fixed",
			"a dm keeps its two members, has no name and is never archived")
	}
	return nil
}

func notArchived(c db.Channel) error {
	if c.ArchivedSeq != nil {
		return web.NewProblem(http.StatusConflict, "channel_archived", "this channel is archived")
	}
	return nil
}

// unchanged returns the cursor for a mutation that had nothing to do. It is the cursor of an event that the
// caller was served: the caller's own join or, if the caller has left the channel, the caller's own leave.
// For a caller who never was a member, it is the head of the event log.
func unchanged(ctx context.Context, q db.Queries, c db.Channel) (events.Cursor, error) {
	epoch, head, err := q.Epoch(ctx)
	at := events.Cursor{Epoch: epoch, Seq: head}
	switch {
	case c.JoinedSeq != nil:
		at.Seq = *c.JoinedSeq
	case c.LeftSeq != nil:
		at.Seq = *c.LeftSeq
	}
	return at, err
}
