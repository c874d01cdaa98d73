package db

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ErrRefused says that a post found no channel that has its author as a member and is not archived, or that
// the message it replies to is not readable, or that members take turns in the channel. Nothing was stored.
// To learn which, read the channel.
var ErrRefused = errors.New("the post was refused")

// errHeld says that another transaction holds the channel's lock or the wake that the post answers, or that
// the wake is lost. Only a transaction can wait, and find out which.
var errHeld = errors.New("the channel or the wake is held")

// WakeupsListed is how many of the users whom a post wakes its answer names. The answer counts all of them.
const WakeupsListed = 20

// A NewMessage is a message to store, with what only its author's request knows.
type NewMessage struct {
	// ID, ChannelID, AuthorUserID, Content, ReplyTo, Admin and TwoState are set, and TurnUserID in turn
	// channels.
	events.Message

	Mentioned []string // users whom it mentions; post_messages keeps those who are members
	Listed    bool     // its author has listed them; otherwise the text names them
	// it wakes nobody, because its author wants so; in a turn channel TurnUserID is not set
	Notice bool
	Guilds []string // guilds that the author's token allows; nil: all
	Reply  *Reply   // the wake that the message ends or keeps; nil: none

	// IfLast is the message that the author has read last, or nil. If others have posted since, the message
	// is not stored.
	IfLast *uuid.UUID
}

// A Post is a message with its place in the event log and the members that its answer may have to name.
type Post struct {
	events.Message // its wake list has only users who were members
	Cursor         events.Cursor
	MemberCount    int
	Roster         []string // if it wakes everyone: the first members, one more than an answer lists
	Wake           *Replied // what a reply answered; nil: it is no reply
}

// Post stores a message and its event: one row each, however many members the channel has. It is the hot
// path: one round trip, shared with the posts that come at the same time. The post holds the channel's lock
// shared. So posts do not wait for each other, and the roster that a post reads is the roster at the event's
// place in the event log. If another transaction holds the channel or the wake, Post waits for it in a
// transaction of its own. ErrRefused, ErrWakeLost, ErrLeaseLimit; with IfLast also ErrMoved, ErrNotReadable.
func (d *DB) Post(ctx context.Context, m NewMessage) (Post, error) {
	var p Post
	var err error
	switch {
	case m.IfLast == nil:
		one := &posting{seat: newSeat(), NewMessage: m}
		err = d.posts.add(ctx, one)
		p, err = one.post, cmp.Or(err, one.err)
	case m.Reply != nil && m.Reply.Keep:
		err = errHeld // the queue must be locked before the channel
	default:
		p, err = d.postFresh(ctx, m)
	}
	if err == nil && p.Wake != nil {
		d.tell(WorkChange{m.AuthorUserID, m.ChannelID, p.Wake.First, p.Wake.Upto})
	}
	if !errors.Is(err, errHeld) {
		return p, err
	}
	err = d.InTx(ctx, func(ctx context.Context, tx Tx) error {
		if err := tx.LockForPost(ctx, m); err != nil {
			return err
		}
		if err := tx.checkReply(ctx, m); err != nil {
			return err
		}
		p, err = tx.post(ctx, m, false)
		return err
	})
	return p, err
}

// Post is DB.Post in a transaction that holds the channel. In a channel where members take turns the
// transaction must hold it exclusively, and Post hands the turn to m.TurnUserID. After an error the caller
// must roll back: ErrRefused, ErrWakeLost, ErrLeaseLimit.
func (tx Tx) Post(ctx context.Context, m NewMessage) (Post, error) {
	if err := tx.checkReply(ctx, m); err != nil {
		return Post{}, err
	}
	const turn = `UPDATE channels SET turn_user_id = $2 WHERE id = $1`
	if m.TurnUserID != "" {
		if _, err := tx.conn.Exec(ctx, turn, m.ChannelID, m.TurnUserID); err != nil {
			return Post{}, err
		}
	}
	return tx.post(ctx, m, true)
}

// post stores one message. turns allows a channel in which members take turns.
func (tx Tx) post(ctx context.Context, m NewMessage, turns bool) (Post, error) {
	one := []*posting{{NewMessage: m, err: errNotDone}}
	if err := postAll(ctx, tx.conn, one, nil, turns); err != nil {
		return Post{}, err
	}
	if one[0].err == errHeld { // the transaction holds the wake, so only its hour can have passed
		return Post{}, ErrLeaseLimit
	}
	if one[0].err != nil {
		return Post{}, one[0].err
	}
	p := one[0].post
	tx.appended.events = append(tx.appended.events, one[0].event())
	if p.Wake != nil {
		*tx.work = append(*tx.work, WorkChange{m.AuthorUserID, m.ChannelID, p.Wake.First, p.Wake.Upto})
	}
	return p, nil
}

// postAll stores a group of messages, which all have one delivery mode, and sets the result of each posting.
// class is lockChannel, or nil in a transaction that holds the channels. turns allows channels in which
// members take turns; then the group has one message.
func postAll(ctx context.Context, conn conn, group []*posting, class *int32, turns bool) error {
	const post = `
		SELECT n, epoch, seq, occurred_at, guild_id, name, x_type, member_count, mention_user_ids,
			admin_user_id, roster, wake_list, wake,
			reply_to_user_id, by_agent, author_kind, author_name, bound
		FROM post_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`
	var a struct {
		ids, channels     []uuid.UUID
		authors, contents []string
		replies           []*uuid.UUID
		mentioned, guilds []*string
		admins            []*string
		notices           []bool       // nil, which is NULL: the group has none
		lasts             []*uuid.UUID // the same
	}
	var w replyColumns
	for _, p := range group {
		a.ids = append(a.ids, p.ID)
		a.channels = append(a.channels, p.ChannelID)
		a.authors = append(a.authors, p.AuthorUserID)
		a.contents = append(a.contents, p.Content)
		a.replies = append(a.replies, p.ReplyTo)
		a.mentioned = append(a.mentioned, optional(strings.Join(p.Mentioned, ",")))
		a.admins = append(a.admins, optional(p.Admin))
		var guilds *string // NULL allows all guilds; a token for no guild has the empty string
		if p.Guilds != nil {
			guilds = new(strings.Join(p.Guilds, ","))
		}
		a.guilds = append(a.guilds, guilds)
		if p.IfLast != nil {
			a.lasts = []*uuid.UUID{p.IfLast} // alone in its group
		}
		w.add(p.Reply)
	}
	if slices.ContainsFunc(group, func(p *posting) bool { return p.Notice }) {
		for _, p := range group {
			a.notices = append(a.notices, p.Notice)
		}
	}
	var b pgx.Batch
	if class != nil && a.lasts != nil {
		b.Queue(lockAlone, *class, a.channels[0])
		class = nil
	}
	queued := b.Queue(post, class, WakeupsListed+1, turns, optional(group[0].TurnUserID), group[0].TwoState,
		a.ids, a.channels, a.authors, a.contents, a.replies, a.mentioned, a.guilds, a.admins,
		a.notices, a.lasts, w.ids, w.keeps, w.leases)
	queued.Query(func(rows pgx.Rows) error {
		var r postRow
		_, err := pgx.ForEachRow(rows, r.scan(), func() error {
			group[r.N-1].take(&r)
			r = postRow{}
			return nil
		})
		return err
	})
	if err := conn.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	refused := false
	for _, p := range group {
		if p.err == errNotDone {
			p.err = ErrRefused
			refused = true
		}
	}
	if !refused {
		return nil
	}
	// Tables that a restore has yet to fill refuse every post. Then there is no epoch either, and this fails.
	const epoch = `SELECT log_epoch()`
	_, err := conn.Exec(ctx, epoch)
	return err
}

// take sets the result of a posting from its row of post_messages.
func (p *posting) take(r *postRow) {
	if r.Seq == nil {
		p.err = errHeld
		return
	}
	p.post = r.post(p.Message)
	p.name = *r.Name
	p.err = nil
	if p.Reply != nil {
		p.post.Wake, p.err = p.Reply.replied(r.Wake)
	}
}

// postRow is a row of post_messages. If Seq is nil, everything but N is nil.
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
	Wake        []byte // JSON of a Replied
	ReplyTo     *string
	ByAgent     *bool
	Kind        *events.UserKind // nil: nothing is known of the user
	DisplayName *string
	Bound       *events.Bound
}

func (r *postRow) scan() []any {
	return []any{
		&r.N, &r.Epoch, &r.Seq, &r.At, &r.GuildID, &r.Name, &r.XType, &r.MemberCount, &r.Mentioned, &r.Admin,
		&r.Roster, &r.WakeList, &r.Wake, &r.ReplyTo, &r.ByAgent, &r.Kind, &r.DisplayName, &r.Bound,
	}
}

func (r *postRow) post(m events.Message) Post {
	m.Seq = *r.Seq
	m.CreatedAt = *r.At
	m.GuildID = *r.GuildID
	m.XType = *r.XType
	m.MentionUserIDs = r.Mentioned
	m.Admin = value(r.Admin)
	m.WakeList = r.WakeList
	m.ReplyToUserID = value(r.ReplyTo)
	m.ByAgent = *r.ByAgent
	m.AuthorKind = cmp.Or(value(r.Kind), events.Human)
	m.AuthorName = value(r.DisplayName)
	m.Bound = value(r.Bound)
	m.Settle()
	at := events.Cursor{Epoch: *r.Epoch, Seq: m.Seq}
	return Post{Message: m, Cursor: at, MemberCount: *r.MemberCount, Roster: r.Roster}
}
