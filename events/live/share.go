package live

import (
	"slices"
	"time"

	"fabric-guild/events"
)

// A shared snapshot stays for snapshotKept after the last stream that shows it: a client may reconnect again
// and again. A server has at most sharedSnapshots of them, because each may have 3 MiB, and because many
// users may open a stream at once. The streams of other users share nothing, and keep nothing.
const (
	snapshotKept    = 5 * time.Second
	sharedSnapshots = 16
)

// enterSnapshot returns a snapshot for s, as of the cursor of a resumed stream, else as of the router's
// position. The caller must call leaveSnapshot. Streams of one user share a snapshot that takes more than one
// read. A shared snapshot may be older than a stream that shows it, if nothing that it shows has changed
// since. If it has changed, streams begin to share a new one when no stream shows the old one any more: so a
// user has one at most in memory.
func (r *Router) enterSnapshot(s *Session) (snap *snapshot, asOf events.Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	asOf = r.at
	if s.opts.Resume != nil {
		asOf = *s.opts.Resume
	}
	u := s.user
	snap = r.newSnapshot(s, asOf)
	snap.epoch = r.at.Epoch
	// after a restart of the router, nobody notes what changes for its former users
	if u.intervals.Lasting() < snapshotRows || asOf.Seq < u.changed || r.users[u.id] != u {
		return snap, asOf
	}
	switch old := u.shared; {
	case old == nil && r.sharing >= sharedSnapshots:
		return snap, asOf
	case old == nil:
		r.sharing++
		u.shareLocked(snap)
	case old.asOf.Seq >= u.changed && old.epoch == snap.epoch && old.sees(&s.opts.Filter):
		snap = old
		snap.wakeLocked()
	case old.readers > 0:
		return snap, asOf
	default:
		old.wakeLocked() // its timer would keep it in memory
		u.shareLocked(snap)
	}
	snap.readers++
	return snap, asOf
}

// shareLocked makes the user's streams share a snapshot. The router's mu is held.
func (u *user) shareLocked(snap *snapshot) {
	snap.shared = true
	u.shared = snap
}

// sees reports whether the snapshot shows what a stream with filter f shows.
func (p *snapshot) sees(f *events.Filter) bool {
	return (p.filter.Guilds == nil) == (f.Guilds == nil) && slices.Equal(p.filter.Guilds, f.Guilds)
}

// leaveSnapshot ends what enterSnapshot began. snap may be nil.
func (r *Router) leaveSnapshot(u *user, snap *snapshot) {
	if snap == nil || !snap.shared {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	snap.readers--
	switch {
	case snap.readers > 0:
	case snap.asOf.Seq < u.changed:
		r.dropSnapshotLocked(u, snap)
	default:
		snap.idle = time.AfterFunc(snapshotKept, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.dropSnapshotLocked(u, snap)
		})
	}
}

// dropSnapshotLocked ends the sharing of a snapshot, unless a stream shows it. r.mu is held.
func (r *Router) dropSnapshotLocked(u *user, snap *snapshot) {
	if u.shared == snap && snap.readers == 0 {
		u.shared = nil
		r.sharing--
	}
}

// wakeLocked stops the timer that drops the snapshot. The router's mu is held.
func (p *snapshot) wakeLocked() {
	if p.idle != nil {
		p.idle.Stop()
		p.idle = nil
	}
}

// changes reports whether an event may change what a snapshot shows of its channel.
func changes(kind events.Kind) bool {
	switch kind {
	case events.MessageCreated, events.MessageUpdated, events.MessageDeleted, events.TurnChanged,
		events.WakeDead, events.GuardTripped:
		return false
	}
	return true // also a kind of a newer version
}
