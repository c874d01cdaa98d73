package center

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// adminTTL is how long the result of a fetch is used, also when the fetch failed.
const adminTTL = 24 * time.Hour

// An Admin is the user who is responsible for the guilds, according to Center. An Admin is immutable.
type Admin struct {
	Email  string `json:"email"`
	UserID string `json:"userId"`
}

// An AdminCache caches the admin. It also caches that there is no admin, and a failed fetch counts as no
// admin. So only the very first fetch can make a message wait for Center. An AdminCache is safe for
// concurrent use.
type AdminCache struct {
	client *Client // nil if the admin is fixed
	logger *slog.Logger

	ctx     context.Context // used by the fetches; Close ends it
	stop    context.CancelFunc
	running sync.WaitGroup
	filled  chan struct{} // closed when the first fetch ends

	mu      sync.Mutex
	closed  bool
	admin   *Admin
	fetched time.Time
	failed  int64  // number of failed fetches
	fetch   *fetch // the running fetch, or nil
}

// A fetch is one question to Center. Its result may be read after done is closed.
type fetch struct {
	done          chan struct{}
	before, after *Admin
}

// NewAdminCache returns a cache of the admin, and starts the first fetch in the background. Later it fetches
// again when somebody asks and the cached admin is a day old. The caller must close the cache.
func NewAdminCache(client *Client, logger *slog.Logger) *AdminCache {
	c := &AdminCache{client: client, logger: logger, filled: make(chan struct{})}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.startLocked()
	return c
}

// FixedAdmin returns a cache that always returns this admin, or no admin if admin is nil. It is for a server
// without Center.
func FixedAdmin(admin *Admin) *AdminCache {
	c := &AdminCache{admin: admin, filled: make(chan struct{})}
	c.ctx, c.stop = context.WithCancel(context.Background())
	close(c.filled)
	return c
}

// Snapshot returns the cached admin, or nil if there is none, and whether the first fetch has ended. It
// never blocks: it also returns an admin that is older than a day, and starts a fetch in the background.
func (c *AdminCache) Snapshot() (admin *Admin, filled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	filled = c.client == nil || !c.fetched.IsZero()
	if c.client != nil && c.fetch == nil && time.Since(c.fetched) >= adminTTL {
		c.startLocked()
	}
	return c.admin, filled
}

// An AdminState is the state of an AdminCache, for metrics.
type AdminState struct {
	Known   bool      // there is an admin
	Fetched time.Time // end of the last fetch; zero if there was none
	Failed  int64     // number of failed fetches
}

// State returns the state of the cache. It never blocks and never starts a fetch.
func (c *AdminCache) State() AdminState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return AdminState{c.admin != nil, c.fetched, c.failed}
}

// Await waits for the very first fetch and returns like Snapshot. It blocks for at most two seconds, and
// returns earlier when ctx ends or the cache is closed. After the first fetch it never blocks.
func (c *AdminCache) Await(ctx context.Context) (admin *Admin, filled bool) {
	admin, filled = c.Snapshot()
	if filled {
		return admin, filled
	}
	select {
	case <-c.filled:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	return c.Snapshot()
}

// Refresh fetches the admin now, and returns the admin before and after the fetch. A running fetch may have
// started before the change that the caller knows of. So Refresh waits for the running fetch and then starts
// another one, which concurrent callers share. If ctx ends or the cache is closed first, Refresh returns the
// cached admin twice and false.
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
	f := c.startLocked()
	c.mu.Unlock()
	if f == nil || !c.wait(ctx, f) {
		return c.unchanged()
	}
	return f.before, f.after, !f.before.equal(f.after)
}

// Close cancels the running fetch and returns when it has ended. The cached admin does not change. Close may
// be called more than once.
func (c *AdminCache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.running.Wait()
}

// startLocked returns the running fetch, or starts one. It returns nil if the cache is closed and no fetch
// is running. c.mu must be held.
func (c *AdminCache) startLocked() *fetch {
	if c.fetch == nil && !c.closed {
		f := &fetch{done: make(chan struct{})}
		c.fetch = f
		c.running.Go(func() { c.run(f) })
	}
	return c.fetch
}

// run does a fetch and stores its result. If the cache was closed meanwhile, nothing is stored.
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
		c.logger.Warn("fetching the admin failed; there is no admin until the next fetch", "error", err)
	}
	if c.fetched.IsZero() {
		close(c.filled)
	}
	f.after = admin
	c.admin = admin
	c.fetched = time.Now()
}

// wait waits for f. It returns false if ctx or the cache ends before f does.
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

// admin asks Center for the admin. It returns nil if there is none.
func (c *Client) admin(ctx context.Context) (admin *Admin, err error) {
	err = c.call(ctx, &c.adminEmail, nil, func(answer []byte) (f *failure) {
		admin, f = readAdmin(answer)
		return f
	})
	return admin, err
}
