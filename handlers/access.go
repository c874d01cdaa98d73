package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"fabric-guild/db"
	"fabric-guild/events"

	"github.com/google/uuid"
)

// begin is what every request about one channel begins with.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, params ...string) (id Identity, channel uuid.UUID, q url.Values, err error) {
	if id, err = s.caller(w, r); err != nil {
		return id, channel, nil, err
	}
	if q, err = query(r, params...); err != nil {
		return id, channel, nil, err
	}
	channel, err = channelID(r)
	return id, channel, q, err
}

// A change of a channel: what it does with the channel as the caller stands to it, in a transaction that
// holds the channel. It may run twice.
type change func(ctx context.Context, tx db.Tx, c *db.Channel) (events.Cursor, error)

// changeChannel lets a member change a channel, and returns how it then is.
func (s *Server) changeChannel(ctx context.Context, id Identity, channel uuid.UUID, do change) (db.Channel, events.Cursor, error) {
	return s.changeAs(ctx, id, channel, ofMember, do)
}

// changeAs is changeChannel for those whom stand lets through.
func (s *Server) changeAs(ctx context.Context, id Identity, channel uuid.UUID, stand standing, do change) (c db.Channel, at events.Cursor, err error) {
	err = s.db.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if c, err = hold(ctx, tx, id, channel, stand); err != nil {
			return err
		}
		at, err = do(ctx, tx, &c)
		return err
	})
	return c, at, err
}

// hold locks a channel for those whom stand lets through, also as it is then: a stranger holds nobody up.
func hold(ctx context.Context, tx db.Tx, id Identity, channel uuid.UUID, stand standing) (db.Channel, error) {
	if c, err := stand(ctx, tx.Queries, id, channel); err != nil {
		return c, err
	}
	if err := tx.LockChannel(ctx, channel); err != nil {
		return db.Channel{}, err
	}
	return stand(ctx, tx.Queries, id, channel)
}

// look returns the channel of a request that only reads it.
func (s *Server) look(w http.ResponseWriter, r *http.Request) (db.Channel, error) {
	id, channel, _, err := s.begin(w, r)
	if err != nil {
		return db.Channel{}, err
	}
	return visible(r.Context(), s.db.Queries, id, channel)
}

// A standing decides who gets through, and returns the channel as the caller stands to it.
type standing func(ctx context.Context, q db.Queries, id Identity, channel uuid.UUID) (db.Channel, error)

// visible returns a channel as the caller stands to it, and hides what is not for them.
func visible(ctx context.Context, q db.Queries, id Identity, channel uuid.UUID) (db.Channel, error) {
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

// ofMember is visible for those who have to be members.
func ofMember(ctx context.Context, q db.Queries, id Identity, channel uuid.UUID) (db.Channel, error) {
	c, err := visible(ctx, q, id, channel)
	if err == nil && c.JoinedSeq == nil {
		err = newProblem(http.StatusForbidden, "not_member", "you are not a member of this channel; join it first")
	}
	return c, err
}

// maySteer is for the creator and, once they have left, for any member.
func maySteer(c db.Channel, id Identity) error {
	if c.CreatorIn && c.CreatedBy != id.UserID {
		return newProblem(http.StatusForbidden, "not_creator", "only the channel's creator may do this, as long as they are in it")
	}
	return nil
}

func notDM(c db.Channel) error {
	if c.XType == events.DM {
		return newProblem(http.StatusUnprocessableEntity, "dm_fixed", "a dm keeps its two members, has no name and is never archived")
	}
	return nil
}

func notArchived(c db.Channel) error {
	if c.ArchivedSeq != nil {
		return newProblem(http.StatusConflict, "channel_archived", "this channel is archived")
	}
	return nil
}

// unchanged is the cursor of a mutation that found nothing to do: one that the caller has been served to.
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
