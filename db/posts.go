package db

import (
	"context"
	"errors"
	"strings"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ErrRefused says that a post found no channel with its author in it, or one that is archived, or nothing to
// reply to, or one in which turns are taken. Nothing was stored; reading the channel tells which.
var ErrRefused = errors.New("the post was refused")

// errHeld says that somebody holds the channel; a post that waits is to be made in a transaction.
var errHeld = errors.New("the channel is held")

// WakeupsListed is how many of those whom a post wakes its answer names; it counts them all.
const WakeupsListed = 20

// A NewMessage is a message to be stored, with what only its author's request knows.
type NewMessage struct {
	events.Message // ID, ChannelID, AuthorUserID, Content, ReplyTo, Admin, TwoState; in turn channels TurnUserID

	Mentioned []string // what its text mentions: who of them is a member is decided at its place in the log
	Guilds    []string // those that the author's token is for; nil: all
}

// A Post is a message with its place in the log and the members that its answer may have to name.
type Post struct {
	events.Message // its wake list is without who was no member
	Cursor         events.Cursor
	MemberCount    int
	Roster         []string // where it wakes everyone, the first members in join order, one more than an answer lists
}

// PostMessage stores a message and its event: one row each, however many members the channel has. It is the
// hot path: one round trip, shared with the posts that come at the same time. It holds the shared side of
// the channel's lock, so that posts do not wait for one another and the roster that is read is the roster at
// the event's place in the log. ErrRefused.
func (d *DB) PostMessage(ctx context.Context, m NewMessage) (p Post, err error) {
	if p, err = d.posts.add(ctx, m); !errors.Is(err, errHeld) {
		return p, err
	}
	err = d.InTx(ctx, func(ctx context.Context, q Queries) error {
		if err := q.ShareChannel(ctx, m.ChannelID); err != nil {
			return err
		}
		p, err = q.post(ctx, m, false)
		return err
	})
	return p, err
}

// PostMessage is DB.PostMessage in a transaction that holds the channel: exclusively where turns are taken,
// with the turn that m hands over.
func (q Queries) PostMessage(ctx context.Context, m NewMessage) (Post, error) {
	const turn = `UPDATE channels SET turn_user_id = $2 WHERE id = $1`
	if m.TurnUserID != "" {
		if _, err := q.conn.Exec(ctx, turn, m.ChannelID, m.TurnUserID); err != nil { // a post that is refused takes it back
			return Post{}, err
		}
	}
	return q.post(ctx, m, true)
}

func (q Queries) post(ctx context.Context, m NewMessage, turns bool) (Post, error) {
	one := []*posting{{NewMessage: m, err: errNotStored}}
	if err := q.postAll(ctx, one, nil, turns); err != nil {
		return Post{}, err
	}
	return one[0].post, one[0].err
}

// postAll stores a group of messages, which are all of one delivery mode, and sets what became of each. lock is
// lockChannel, or nil in a transaction that holds the channels; where that hands over a turn, with its only message.
func (q Queries) postAll(ctx context.Context, group []*posting, lock *int32, turns bool) error {
	const post = `
		SELECT n, epoch, seq, occurred_at, guild_id, name, x_type, member_count, mention_user_ids, admin_user_id, roster, wake_list
		FROM post_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`
	var a struct {
		ids, channels     []uuid.UUID
		authors, contents []string
		replies           []*uuid.UUID
		mentioned, guilds []*string
		admins            []*string
	}
	for _, p := range group {
		a.ids, a.channels = append(a.ids, p.ID), append(a.channels, p.ChannelID)
		a.authors, a.contents = append(a.authors, p.AuthorUserID), append(a.contents, p.Content)
		a.replies = append(a.replies, p.ReplyTo)
		a.mentioned = append(a.mentioned, optional(strings.Join(p.Mentioned, ",")))
		var guilds *string
		if p.Guilds != nil { // of a token for no guild it is no NULL, which stands for all
			guilds = new(strings.Join(p.Guilds, ","))
		}
		a.guilds, a.admins = append(a.guilds, guilds), append(a.admins, optional(p.Admin))
	}
	var b pgx.Batch
	if lock != nil { // no transaction has set it, and a function cannot do so for the statement that calls it
		b.Queue(endsByItself)
	}
	b.Queue(post, lock, WakeupsListed+1, turns, optional(group[0].TurnUserID), group[0].TwoState,
		a.ids, a.channels, a.authors, a.contents, a.replies, a.mentioned, a.guilds, a.admins).Query(func(rows pgx.Rows) error {
		var r postRow
		_, err := pgx.ForEachRow(rows, r.scan(), func() error {
			p := group[r.N-1]
			if r.Seq == nil {
				p.err = errHeld
			} else {
				p.post, p.name, p.err = r.post(p.Message), *r.Name, nil
			}
			r = postRow{}
			return nil
		})
		return err
	})
	if err := q.conn.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	refused := false
	for _, p := range group {
		if p.err == errNotStored {
			p.err, refused = ErrRefused, true
		}
	}
	if !refused {
		return nil
	}
	// A table that a restore has yet to fill refuses everything. Then there is no epoch either.
	const epoch = `SELECT log_epoch()`
	_, err := q.conn.Exec(ctx, epoch)
	return err
}

// postRow is what post_messages answers for one of them; without a number nothing else is set.
type postRow struct {
	N           int
	Epoch       *int64
	Seq         *int64
	At          *events.Time
	GuildID     *string
	Name        *string
	XType       *events.XType
	MemberCount *int
	Mentioned   []string
	Admin       *string
	Roster      []string
	WakeList    []string
}

func (r *postRow) scan() []any {
	return []any{
		&r.N, &r.Epoch, &r.Seq, &r.At, &r.GuildID, &r.Name, &r.XType, &r.MemberCount, &r.Mentioned, &r.Admin,
		&r.Roster, &r.WakeList,
	}
}

func (r *postRow) post(m events.Message) Post {
	m.Seq, m.CreatedAt, m.GuildID, m.XType = *r.Seq, *r.At, *r.GuildID, *r.XType
	m.MentionUserIDs, m.Admin, m.WakeList = r.Mentioned, value(r.Admin), r.WakeList
	m.Settle()
	return Post{Message: m, Cursor: events.Cursor{Epoch: *r.Epoch, Seq: m.Seq}, MemberCount: *r.MemberCount, Roster: r.Roster}
}
