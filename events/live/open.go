package live

import (
	"context"
	"errors"
	"time"

	"fabric-guild/events"
)

// Options say what a stream is opened with.
type Options struct {
	User   string
	Filter events.Filter
	Format events.Format
	// Resume is the position that the client has reached. Without it, or if the event log cannot be continued
	// from there, the stream begins with a snapshot.
	Resume *events.Cursor
	// Snapshot asks for a snapshot when resuming, too.
	Snapshot bool
	// Marks asks for a stream.cursor after each part of the backlog that comes from the event log, even if
	// nothing in it was for the client.
	Marks bool
	// Reads asks for the user's own channel.read signals, and Activity for the signals of other members.
	Reads, Activity bool
	// Expires is the time when the stream ends; zero: never.
	Expires time.Time
	// Rotates is the time when the stream ends once it is live, so that its client reconnects, perhaps to
	// another server; zero: never.
	Rotates time.Time
	// Revoked is asked at every heartbeat, in a goroutine of its own. If it returns true, the stream ends.
	Revoked func() bool
	// Worked is called after each read of a snapshot, with the time that the server took to read and encode.
	// Worked must not block. It may be nil.
	Worked func(took time.Duration)
	// Await is called before a stream that cannot continue from Resume reads its snapshot. It blocks until
	// the server may spend time on that. After an error it is called again. It may be nil.
	Await func(ctx context.Context) error
	// Uncounted streams do not count towards MaxStreams: they have no client.
	Uncounted bool
	// Ended is called once, after the stream is over. It may be nil.
	Ended func()
}

// cursorChecks is how often Open checks a cursor while the database keeps changing.
const cursorChecks = 3

// Open reserves a stream. The caller must call Start or Abort. If opts.Resume is set, Open asks the event log
// whether the stream may continue from there, and blocks for the answer. If the user has MaxStreams streams,
// Open ends one that is older than replaceAfter. The errors are ErrTooManyStreams, ErrClosed, ErrUnread, and
// those of Log.CheckCursor.
func (r *Router) Open(ctx context.Context, opts Options) (*Session, error) {
	if opts.Resume == nil {
		return r.openAt(r.Position().Epoch, opts, "")
	}
	for range cursorChecks {
		position := r.Position()
		reset, err := r.log.CheckCursor(ctx, *opts.Resume, position)
		if err != nil {
			return nil, err
		}
		s, err := r.openAt(position.Epoch, opts, reset)
		if !errors.Is(err, errNewEpoch) {
			return s, err
		}
	}
	return nil, ErrUnread
}

// openAt reserves a stream whose cursor was checked while the router was in epoch, with the result reset. The
// error is errNewEpoch if the router is in another epoch now.
func (r *Router) openAt(epoch int64, opts Options, reset string) (*Session, error) {
	if reset != "" {
		opts.Resume = nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosed
	}
	if opts.Resume != nil && epoch != r.at.Epoch {
		return nil, errNewEpoch
	}
	u := r.users[opts.User]
	if u == nil {
		u = &user{id: opts.User}
		r.users[opts.User] = u
	}
	if !opts.Uncounted && len(u.open) >= MaxStreams && !r.replaceLocked(u) {
		return nil, ErrTooManyStreams
	}
	s := &Session{
		router: r, opts: opts, reset: reset, user: u, born: time.Now(), ending: events.EndedDisconnected,
	}
	if opts.Uncounted {
		u.watches++
	} else {
		u.open = append(u.open, s)
	}
	s.run = s.work
	if opts.Resume != nil {
		s.from = opts.Resume.Seq
	}
	r.all[s] = struct{}{}
	if opts.Activity {
		r.signals.asked++
	}
	r.ended.Add(1)
	return s, nil
}
