package center

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// adminTTL is how long a fetch counts, also one that failed.
const adminTTL = 24 * time.Hour

// An Admin is who Center says looks after the guilds. It is not changed once it is made.
type Admin struct {
	Email  string `json:"email"`
	UserID string `json:"userId"`
}

// An AdminCache knows the admin. That there is none it remembers alike, and a fetch that failed counts as
// none: a message never waits for Center because of the admin, but for the very first fetch.
type AdminCache struct {
	client *Client // nil: the admin is fixed
	logger *slog.Logger

	ctx     context.Context // of the fetches; ends at Close
	stop    context.CancelFunc
	running sync.WaitGroup
	filled  chan struct{} // closed by the first fetch

	mu      sync.Mutex
	closed  bool
	admin   *Admin
	fetched time.Time
	failed  int64  // fetches
	fetch   *fetch // the one under way
}

// A fetch is one question to Center. What it found may be read once done is closed.
type fetch struct {
	done          chan struct{}
	before, after *Admin
}

// NewAdminCache returns a cache of client's admin, and fetches it in the background. It fetches again when it
// is asked and what it knows is a day old.
func NewAdminCache(client *Client, logger *slog.Logger) *AdminCache {
	c := &AdminCache{client: client, logger: logger, filled: make(chan struct{})}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.start()
	return c
}

// FixedAdmin returns a cache that always knows this admin, or with nil that there is none: for a guild without
// Center.
func FixedAdmin(admin *Admin) *AdminCache {
	c := &AdminCache{admin: admin, filled: make(chan struct{})}
	c.ctx, c.stop = context.WithCancel(context.Background())
	close(c.filled)
	return c
}

// Snapshot returns the admin as it is known, nil for none, and whether it has ever been fetched. It never
// blocks: what is older than a day still serves, and a fetch begins in the background.
func (c *AdminCache) Snapshot() (admin *Admin, filled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	filled = c.client == nil || !c.fetched.IsZero()
	if c.client != nil && c.fetch == nil && time.Since(c.fetched) >= adminTTL {
		c.start()
	}
	return c.admin, filled
}

// An AdminState is what an AdminCache knows, for metrics.
type AdminState struct {
	Known   bool      // there is an admin
	Fetched time.Time // zero: never
	Failed  int64     // fetches so far
}

// State never fetches.
func (c *AdminCache) State() AdminState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return AdminState{c.admin != nil, c.fetched, c.failed}
}

// Await is Snapshot after the very first fetch: it waits for that one only, which takes two seconds at most, or
// until ctx or the cache ends.
func (c *AdminCache) Await(ctx context.Context) (admin *Admin, filled bool) {
	if admin, filled = c.Snapshot(); filled {
		return admin, filled
	}
	select {
	case <-c.filled:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	return c.Snapshot()
}

// Refresh fetches the admin now, and returns whom it replaced by whom. A fetch that is under way may have
// asked too early to see what the caller knows of: it is waited for, and another one follows, which concurrent
// callers share. When ctx or the cache ends first, nothing has changed that the caller could be told of.
func (c *AdminCache) Refresh(ctx context.Context) (before, after *Admin, changed bool) {
	if c.client == nil {
		return c.admin, c.admin, false
	}
	c.mu.Lock()
	earlier := c.fetch
	c.mu.Unlock()
	if earlier != nil && !c.wait(ctx, earlier) {
		return c.unchanged()
	}
	c.mu.Lock()
	f := c.start()
	c.mu.Unlock()
	if f == nil || !c.wait(ctx, f) {
		return c.unchanged()
	}
	return f.before, f.after, !f.before.equal(f.after)
}

// Close ends the fetch under way and returns when it has ended; the admin stays as it is known. It may be
// called more than once.
func (c *AdminCache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.running.Wait()
}

// start returns the fetch under way, or a new one; nil once the cache is closed. c.mu is held.
func (c *AdminCache) start() *fetch {
	if c.fetch == nil && !c.closed {
		f := &fetch{done: make(chan struct{})}
		c.fetch = f
		c.running.Go(func() { c.run(f) })
	}
	return c.fetch
}

// run makes a fetch. When the cache ends meanwhile, it was none.
func (c *AdminCache) run(f *fetch) {
	defer close(f.done)
	admin, err := c.client.admin(c.ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fetch = nil
	f.before, f.after = c.admin, c.admin
	if c.ctx.Err() != nil {
		return
	}
	if err != nil {
		c.failed++
		c.logger.Warn("the admin is not known: until it is fetched again there is none", "error", err)
	}
	if c.fetched.IsZero() {
		close(c.filled)
	}
	f.after = admin
	c.admin, c.fetched = admin, time.Now()
}

// wait answers false when ctx or the cache ends before f does.
func (c *AdminCache) wait(ctx context.Context, f *fetch) bool {
	select {
	case <-f.done:
	case <-ctx.Done():
		return false
	}
	return c.ctx.Err() == nil
}

func (c *AdminCache) unchanged() (before, after *Admin, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.admin, c.admin, false
}

func (a *Admin) equal(b *Admin) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// admin asks who the admin is; nil: there is none.
func (c *Client) admin(ctx context.Context) (admin *Admin, err error) {
	err = c.call(ctx, &c.adminEmail, nil, func(answer []byte) (f *failure) {
		admin, f = readAdmin(answer)
		return f
	})
	return admin, err
}
