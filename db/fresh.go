package db

import (
	"context"
	"errors"
)

var (
	// ErrMoved says that others have posted since the message that the author of a post has read last.
	ErrMoved = errors.New("the conversation has moved on")
	// ErrNotReadable says that the message that the author of a post claims to have read last is not one that
	// the author may read in this channel.
	ErrNotReadable = errors.New("the message is not readable")
)

// postFresh stores a message with IfLast, in one round trip. The batch is one transaction. Its first
// statement takes the channel's lock exclusively, so that nobody else posts. The next one, which sees what
// was posted until then, checks and posts. ErrRefused: nothing was stored, for one of the reasons that it has
// or because the conversation has moved.
func (d *DB) postFresh(ctx context.Context, m NewMessage) (Post, error) {
	p := &posting{NewMessage: m}
	d.storePosts(context.WithoutCancel(ctx), []*posting{p})
	return p.post, p.err
}

// LockForPost takes the locks that a post in a transaction needs, unless members take turns in the channel:
// the channel's lock, and before it that of the author's queue if the post keeps a wake. With IfLast it takes
// the channel's lock exclusively, and checks that nobody else has posted since: ErrMoved, ErrNotReadable. It
// checks the wake of a reply first (ErrWakeLost), so that a repeated reply gets the answer of the stored one
// however far the conversation has moved.
func (tx Tx) LockForPost(ctx context.Context, m NewMessage) error {
	if m.IfLast == nil {
		if err := tx.lockForReply(ctx, m.Reply, m.AuthorUserID); err != nil {
			return err
		}
		return tx.ShareChannel(ctx, m.ChannelID)
	}
	return tx.LockForTurn(ctx, m)
}

// LockForTurn is LockForPost for a channel in which members take turns: it always takes the lock exclusively.
func (tx Tx) LockForTurn(ctx context.Context, m NewMessage) error {
	if err := tx.lockForReply(ctx, m.Reply, m.AuthorUserID); err != nil {
		return err
	}
	if err := tx.LockChannel(ctx, m.ChannelID); err != nil || m.IfLast == nil {
		return err
	}
	if err := tx.checkReply(ctx, m); err != nil {
		return err
	}
	var fresh *bool // nil: the message is not readable
	const query = `SELECT is_fresh($1, $2, $3)`
	if err := tx.conn.QueryRow(ctx, query, m.IfLast, m.ChannelID, m.AuthorUserID).Scan(&fresh); err != nil {
		return err
	}
	switch {
	case fresh == nil:
		return ErrNotReadable
	case !*fresh:
		return ErrMoved
	}
	return nil
}
