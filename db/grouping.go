package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

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
	NewMessage
	name  string // the channel's name
	post  Post
	err   error
	ready chan bool // true: it must lead the next group; false: it is done
}

// work estimates how long Postgres takes for a post, in rows that it looks up.
func (p *posting) work() int { return 1 + len(p.Mentioned) }

// posts stores posts in groups. Posts that arrive while a group is being stored wait, and form the next
// group. So they share the cost of a commit, above all the wait for the disk. Without load a post does not
// wait, and is a group of its own. (Two groups at the same time cost a third more per post, on one core.)
//
// There is no goroutine for this. The first request that posts stores the group, and then makes the first
// waiting request the leader of the next group.
type posts struct {
	store   func(context.Context, []*posting)
	mu      sync.Mutex
	waiting []*posting // each posting request has one, so the number of requests bounds them
	busy    bool       // a group is being stored
}

// add stores a message, in a group with others or alone. Once its group is being stored, the message is
// stored, even if its client is gone. add waits for the group before it for up to acquireTimeout.
func (g *posts) add(ctx context.Context, m NewMessage) (Post, error) {
	p := &posting{NewMessage: m, ready: make(chan bool, 1)}
	g.mu.Lock()
	if g.busy {
		g.waiting = append(g.waiting, p)
		g.mu.Unlock()
		if lead, err := g.await(ctx, p); !lead {
			return p.post, cmp.Or(err, p.err)
		}
		g.mu.Lock()
	}
	g.busy = true
	group := g.groupLocked(p)
	g.mu.Unlock()
	defer g.done(group) // after a panic too: others wait
	g.store(context.WithoutCancel(ctx), group)
	return p.post, p.err
}

// groupLocked takes the posts of the next group from those that wait. It takes them in rounds: first the
// oldest post of each author, then the second, and so on. So an author with many posts, or with expensive
// ones, delays another author's post by one group. The oldest post of all leads, so no post waits forever.
//
// A group has one reply for a wake: the first one decides whether another one may still be stored.
func (g *posts) groupLocked(lead *posting) []*posting {
	group := []*posting{lead}
	work := lead.work()
	wakes := map[uuid.UUID]bool{}
	full := map[string]bool{} // authors whose next post did not fit
	takes := func(p *posting) bool {
		fits := len(group) < groupLimit && work+p.work() <= groupWork && !full[p.AuthorUserID]
		if fits && p.Reply != nil {
			fits = !wakes[p.Reply.Wake]
		}
		if !fits {
			full[p.AuthorUserID] = true
			return false
		}
		if p.Reply != nil {
			wakes[p.Reply.Wake] = true
		}
		work += p.work()
		group = append(group, p)
		return true
	}
	if lead.Reply != nil {
		wakes[lead.Reply.Wake] = true
	}
	taken := map[*posting]bool{}
	for _, p := range byRound(lead, g.waiting) {
		if takes(p) {
			taken[p] = true
		}
	}
	g.waiting = slices.DeleteFunc(g.waiting, func(p *posting) bool { return taken[p] })
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

// await waits until p is done or must lead, for up to acquireTimeout. If it returns an error, p is in no
// group. p must not be stored later, once Postgres is back: its client may have sent it again by then.
func (g *posts) await(ctx context.Context, p *posting) (lead bool, err error) {
	late := time.NewTimer(acquireTimeout)
	defer late.Stop()
	select {
	case lead = <-p.ready:
		return lead, nil
	case <-late.C:
		err = context.DeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	}
	g.mu.Lock()
	i := slices.Index(g.waiting, p)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 {
		return <-p.ready, nil
	}
	return false, fmt.Errorf("%w: the posts before this one are not stored yet: %w", ErrUnavailable, err)
}

// done releases the requests of the group, and makes the first waiting request the next leader.
func (g *posts) done(group []*posting) {
	g.mu.Lock()
	if len(g.waiting) > 0 {
		g.waiting[0].ready <- true
		g.waiting = slices.Delete(g.waiting, 0, 1)
	} else {
		g.busy = false
	}
	g.mu.Unlock()
	for _, other := range group[1:] {
		other.ready <- false
	}
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
	c := code(err)
	// data, integrity: nothing was stored
	dataError := strings.HasPrefix(c, "22") || strings.HasPrefix(c, "23")
	if dataError && len(group) > 1 {
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
			e := p.event()
			d.carry(e) // first: the tailer shares the event from add on
			d.known.add(e)
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
		p.err = errNotStored
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

// errNotStored is the error of a posting until its result is known.
var errNotStored = errors.New("the group of this post was not stored")
