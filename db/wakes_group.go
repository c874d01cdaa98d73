package db

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// claimGroup is the maximum number of claims in a group: all of them wait until the last one is done.
const claimGroup = 16

// A claiming is one transaction of a claim: a page of its scan, and the choice if this is the last page.
type claiming struct {
	seat
	WakeClaim
	Claimed
	last  bool // it chooses, even if its scan is not complete
	done  bool // it has chosen
	lacks bool // the messages that its wake shows must be read again
	err   error
	queue consumer
}

// newClaims returns the groups in which claims are done that a message has rung. They come together when a
// message wakes several agents, and whenever many agents work. Two groups at once do a tenth fewer claims, on
// one core.
func newClaims(d *DB) groups[*claiming] {
	return groups[*claiming]{
		do:     func(ctx context.Context, group []*claiming) { d.claimAll(ctx, group, skipLocked) },
		choose: chooseClaims,
	}
}

// chooseClaims returns the next group, in the order of arrival. It has one claim of each user: the second one
// could not see in memory what the first one has changed in the queue. The positions of all are in one epoch.
func chooseClaims(lead *claiming, waiting []*claiming) []*claiming {
	group := []*claiming{lead}
	users := map[string]bool{lead.User: true}
	for _, c := range waiting {
		if len(group) < claimGroup && !users[c.User] && c.At.Epoch == lead.At.Epoch {
			users[c.User] = true
			group = append(group, c)
		}
	}
	return group
}

// claimPage does one transaction of a claim. A claim that a message has rung shares it with those that come
// at the same time. A claim that cannot share one goes through a transaction of its own. So does a claim of
// work that was there before: it must choose.
func (d *DB) claimPage(ctx context.Context, c *claiming) (err error) {
	shares := c.Rung && !c.Create // otherwise the others would have to wait for the disk
	if shares {
		err = d.claims.add(ctx, c)
	}
	if !shares || err == nil && alone(c.err) {
		d.claimAll(context.WithoutCancel(ctx), []*claiming{c}, waitLocked)
	}
	if err = cmp.Or(err, c.err); err == nil && c.TookOver {
		d.RingWakes(c.User)
	}
	if err == nil && c.lacks {
		err = d.showAgain(ctx, c)
	}
	return err
}

// alone reports whether a claim must go through a transaction of its own after its group has ended with err:
// another transaction holds its queue, it has none, it has rows to choose from, or Postgres refused a
// statement of the group, so that the group has changed nothing.
func alone(err error) bool {
	refused := []string{"40P01", "55P03", "57014"} // deadlock, lock_timeout, statement_timeout
	return errors.Is(err, ErrNotFound) || errors.Is(err, errChooses) || badData(err) ||
		slices.Contains(refused, code(err))
}

// groupLock is how long a group waits for a lock. A reply that is being committed holds its wake for less.
const groupLock = "100ms"

// claimAll does one transaction of several claims, or of one. They share the round trips and, but for what
// only some claims need, the statements. With skipLocked it waits for nobody's queue, and no longer than
// groupLock for another row. Claims of other users wait for this transaction.
func (d *DB) claimAll(ctx context.Context, group []*claiming, locked consumerLock) {
	// A claim that may share a transaction creates no queue.
	const impatient = `
		SELECT set_config('lock_timeout', $1, true), set_config('synchronous_commit', 'off', true)`
	for _, c := range group {
		c.err = errNotDone
	}
	// All transactions that lock several queues must lock them in the same order, so that none deadlocks.
	sorted := slices.SortedFunc(slices.Values(group), func(a, b *claiming) int {
		return strings.Compare(a.User, b.User)
	})
	// All of these positions were read before the transaction, so all may use the last one.
	at := slices.MaxFunc(group, func(a, b *claiming) int { return cmp.Compare(a.At.Seq, b.At.Seq) }).At
	var queues []*consumer
	first := func(b *pgx.Batch) {
		if locked == skipLocked {
			b.Queue(impatient, groupLock)
		}
		queues = nil
		for _, c := range sorted {
			c.At = at
			c.queue = consumer{user: c.User, claims: true}
			if c.Create {
				c.queue.create(b, c.Since)
			}
			queues = append(queues, &c.queue)
		}
		lockConsumers(b, queues, at, locked)
		lookAhead(b, queues, at)
	}
	err := d.inQueueFrom(ctx, first, func(ctx context.Context, tx Tx, end *pgx.Batch) (err error) {
		var reads pgx.Batch
		for _, c := range sorted {
			c.Claimed = Claimed{}
			c.lacks = false
			switch err := c.queue.err; {
			case errors.Is(err, errEpochMoved):
				return err
			case err == nil:
				c.queue.read(&reads, at)
			}
		}
		if err := tx.conn.SendBatch(ctx, &reads).Close(); err != nil {
			return err
		}
		var fresh []leasing
		synced := false
		for _, c := range sorted {
			if c.queue.err != nil {
				continue
			}
			synced = synced || c.queue.created // a crash must not undo it: it would skip messages
			if row := c.fresh(); row != nil {
				h, err := tx.pick(ctx, c.WakeClaim, &c.queue, row)
				if err != nil {
					return err
				}
				fresh = append(fresh, leasing{c, row, h})
			} else if len(sorted) > 1 && c.chooses() {
				c.queue.err = errChooses
			} else if c.done, err = tx.claim(ctx, c, end); err != nil {
				return err
			}
		}
		tx.claimFresh(fresh, at, end)
		if !synced && locked == waitLocked {
			end.Queue(unsynced)
		}
		return nil
	})
	for _, c := range group { // only now: after a panic nobody has what the group had prepared
		c.err = cmp.Or(err, c.queue.err)
	}
}

// errChooses says that a claim has rows to choose from. The choice and what follows it are round trips of
// their own, for which the others in the group would have to wait.
var errChooses = errors.New("the claim needs a transaction of its own")
