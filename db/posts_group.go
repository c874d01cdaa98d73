package db

import (
	"context"
	"errors"
	"slices"

	"fabric-guild/events"

	"github.com/google/uuid"
)

const (
	// groupLimit is the maximum number of messages in a group: each message holds a lock of its own until
	// the commit.
	groupLimit = 64
	// groupWork is the maximum work of a group of several messages: one post that mentions the maximum number
	// of users, and some others. Everybody's posts wait while Postgres looks up each mentioned user.
	groupWork = 250
)

// A posting is a post in progress.
type posting struct {
	seat
	NewMessage
	name string // the channel's name
	post Post
	err  error
}

// work estimates how long Postgres takes for a post, in rows that it looks up.
func (p *posting) work() int { return 1 + len(p.Mentioned) }

// newPosts returns the groups in which posts are stored. Two groups at once cost a third more per post, on
// one core.
func newPosts(store func(context.Context, []*posting)) groups[*posting] {
	return groups[*posting]{do: store, choose: choosePosts}
}

// choosePosts returns the next group. It takes the posts in rounds: first the oldest post of each author,
// then the second, and so on. So an author with many posts, or with expensive ones, delays another author's
// post by one group. The oldest post of all leads, so no post waits forever.
//
// A group has one reply for a wake: the first one decides whether another one may still be stored.
func choosePosts(lead *posting, waiting []*posting) []*posting {
	group := []*posting{lead}
	work := lead.work()
	wakes := map[uuid.UUID]bool{}
	full := map[string]bool{} // authors whose next post did not fit
	if lead.Reply != nil {
		wakes[lead.Reply.Wake] = true
	}
	for _, p := range byRound(lead, waiting) {
		fits := len(group) < groupLimit && work+p.work() <= groupWork && !full[p.AuthorUserID]
		if !fits || p.Reply != nil && wakes[p.Reply.Wake] {
			full[p.AuthorUserID] = true
			continue
		}
		if p.Reply != nil {
			wakes[p.Reply.Wake] = true
		}
		work += p.work()
		group = append(group, p)
	}
	return group
}

// byRound sorts posts by their place among the posts of their author, and otherwise keeps their order. lead
// has the first place of its author.
func byRound(lead *posting, waiting []*posting) []*posting {
	posts := map[string]int{lead.AuthorUserID: 1}
	round := make(map[*posting]int, len(waiting))
	for _, p := range waiting {
		round[p] = posts[p.AuthorUserID]
		posts[p.AuthorUserID]++
	}
	sorted := slices.Clone(waiting)
	slices.SortStableFunc(sorted, func(a, b *posting) int { return round[a] - round[b] })
	return sorted
}

// event returns the event of a post that was stored.
func (p *posting) event() *events.Event {
	m := p.post.Message
	row := eventRow{
		Seq: m.Seq, Kind: events.MessageCreated, UserID: m.AuthorUserID, OccurredAt: m.CreatedAt,
		ChannelID: m.ChannelID, GuildID: m.GuildID, Name: p.name, XType: m.XType,
		HeardByAdmin: optional(m.Admin),
	}
	e := row.event(p.post.Cursor.Epoch, nil)
	e.Message = &m
	return e
}

// storePosts stores a group. If Postgres cannot store one of the messages, storePosts stores each message by
// itself, so that one message does not fail the others.
func (d *DB) storePosts(ctx context.Context, group []*posting) {
	ring := d.ringToRead      // a group that failed may have drawn numbers
	defer func() { ring() }() // last, so that the tailer and the ring find the posts
	err := d.inEpoch(ctx, func() error { return d.storeGroup(ctx, group) })
	if len(group) > 1 && badData(err) {
		for i, p := range group {
			d.storePosts(ctx, group[i:i+1])
			if errors.Is(p.err, ErrUnavailable) {
				for _, rest := range group[i+1:] { // do not try the rest: each would wait for long
					rest.err = p.err
				}
				return
			}
		}
		return
	}
	if err == nil {
		ring = d.ring
	}
	for _, p := range group {
		if err != nil {
			p.err = err
		}
		switch p.err {
		case nil:
			d.knows(p.event())
		case ErrRefused, errHeld:
		default:
			ring = d.ringToRead
		}
	}
}

// storeGroup stores a group. The group is one statement, so it needs no transaction of its own. If storeGroup
// returns an error of the connection, the group may have been stored.
func (d *DB) storeGroup(ctx context.Context, group []*posting) error {
	for _, p := range group {
		p.err = errNotDone
		if p.TwoState != group[0].TwoState || p.TurnUserID != "" {
			return errors.New("posts of different kinds in one group")
		}
	}
	c, err := acquire(ctx, d.pool)
	if err != nil {
		return err
	}
	ctx, cancel := finish(ctx)
	defer cancel()
	defer c.Release()
	return postAll(ctx, d.outside(c), group, new(lockChannel), false)
}
