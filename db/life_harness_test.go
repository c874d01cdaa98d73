package db_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/db/pgrun"
	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"fabric-guild/events/live"
)

// lifePatience is a deadline for work that takes a second or two on an idle machine.
const lifePatience = 2 * time.Minute

// A lifeNode is a server without HTTP.
type lifeNode struct {
	db     *db.DB
	router *live.Router
	log    *syncBuffer
	wake   func() // starts its tailer
	sleep  func() // stops it
	close  func()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newLifeNode returns a server whose tailer is at the end of the event log and does not run.
func newLifeNode(t *testing.T, url string) *lifeNode {
	t.Helper()
	n := &lifeNode{log: &syncBuffer{}}
	d, err := db.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	head, err := d.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.db, n.router = d, live.NewRouter(d, head)
	tailer := live.NewTailer(d, n.router, d.Bell(), slog.New(slog.NewTextHandler(n.log, nil)))
	stop := func() {}
	var running sync.WaitGroup
	n.wake = func() {
		ctx, cancel := context.WithCancel(context.Background())
		stop = cancel
		running.Go(func() { tailer.Run(ctx) })
	}
	n.sleep = func() { stop(); running.Wait() }
	n.close = sync.OnceFunc(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		n.router.Close(now)
		n.sleep()
		d.Close()
	})
	t.Cleanup(n.close)
	return n
}

// A lifeClient reads a stream, and reconnects with its cursor when the stream ends.
type lifeClient struct {
	name string

	mu     sync.Mutex
	node   *lifeNode
	cursor *events.Cursor
	heard  map[string]bool
	resets []string
	shown  events.Cursor // the latest snapshot: the client knows every post up to it
	stop   func()
}

func newLifeClient(t *testing.T, name string, n *lifeNode, cursor *events.Cursor) *lifeClient {
	c := &lifeClient{name: name, node: n, cursor: cursor, heard: map[string]bool{}}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			c.follow(ctx)
			select {
			case <-time.After(5 * time.Millisecond): // between two attempts
			case <-ctx.Done():
			}
		}
	})
	c.stop = sync.OnceFunc(func() { stop(); running.Wait() })
	t.Cleanup(c.stop)
	return c
}

// follow reads one stream, opened as the handler opens it.
func (c *lifeClient) follow(ctx context.Context) {
	c.mu.Lock()
	n, cursor := c.node, c.cursor
	c.mu.Unlock()
	over := make(chan struct{})
	s, err := n.router.Open(ctx, live.Options{User: "bob", Resume: cursor, Ended: func() { close(over) }})
	if err != nil {
		return
	}
	s.Start(c)
	select {
	case <-over:
	case <-ctx.Done():
		s.Abort()
		<-over
	}
}

// position returns the cursor with which the client would reconnect.
func (c *lifeClient) position() events.Cursor {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.cursor
}

var contentOf = regexp.MustCompile(`"content":"([^"]+)"`)

// Send implements events.Transport.
func (c *lifeClient) Send(frames []*events.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range frames {
		if f.ID != "" {
			at, err := events.ParseCursor(f.ID)
			if err != nil {
				return err
			}
			c.cursor = &at
		}
		if f.Event == "stream.ready" || f.Event == "stream.reset" {
			var data struct {
				Reason  string
				Resumed bool
				Cursor  events.Cursor
			}
			if err := json.Unmarshal(f.Data, &data); err != nil {
				return err
			}
			if !data.Resumed {
				c.shown = data.Cursor
			}
			if data.Reason != "" {
				c.resets = append(c.resets, data.Reason)
			}
		}
		if m := contentOf.FindSubmatch(f.Data); m != nil {
			c.heard[string(m[1])] = true
		}
	}
	return nil
}

func (c *lifeClient) Close()       {}
func (c *lifeClient) Name() string { return "raw" }

// told reports whether the client knows a post: the stream sent it, or a later snapshot.
func (c *lifeClient) told(content string, at events.Cursor) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard[content] || at.Seq <= c.shown.Seq && at.Epoch <= c.shown.Epoch
}

func (c *lifeClient) reasons() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.resets...)
}

// A lifeWorld is a database with which something is about to happen.
type lifeWorld struct {
	*testing.T
	url, super string // url is the owner's; super is the superuser's, of another database
	name       string // of the database
	dump       string // the file of a dump from before the latest posts
	channel    uuid.UUID
	seqs       []int64 // the numbers of the posts
	acked      map[string]events.Cursor
}

const postsBefore, postsAfter = 10, 30

func newLifeWorld(t *testing.T) *lifeWorld {
	t.Helper()
	w := &lifeWorld{T: t, url: dbtest.New(t), acked: map[string]events.Cursor{}}
	u, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	w.name = strings.TrimPrefix(u.Path, "/")
	u.User, u.Path = url.User(pgrun.Superuser), "/postgres"
	w.super = u.String()
	return w
}

func (w *lifeWorld) exec(statements ...string) { w.execAt(w.url, statements...) }

// execAt runs statements, each in its own transaction. A TRUNCATE may deadlock with the server's statements.
// Then an operator runs it again, and so does execAt.
func (w *lifeWorld) execAt(url string, statements ...string) {
	w.Helper()
	c, err := pgx.Connect(w.Context(), url)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	for _, s := range statements {
		w.until(func() string {
			_, err := c.Exec(w.Context(), s)
			var failed *pgconn.PgError
			if errors.As(err, &failed) && failed.Code == "40P01" {
				return fmt.Sprintf("%s: %v", s, err)
			}
			if err != nil {
				w.Fatalf("%s: %v", s, err)
			}
			return ""
		})
	}
}

// tool runs one of Postgres' programs. pg_restore may deadlock with the server's statements. Then an operator
// runs it again, and so does tool.
func (w *lifeWorld) tool(name string, args ...string) {
	w.Helper()
	bin := column[string](w.T, dbtest.Connect(w, w.super),
		`SELECT setting FROM pg_config WHERE name = 'BINDIR'`)[0]
	w.until(func() string {
		out, err := osexec.CommandContext(w.Context(), filepath.Join(bin, name), args...).CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%s: %v: %s", name, err, out)
		}
		return ""
	})
}

func (w *lifeWorld) backup() {
	w.Helper()
	w.dump = filepath.Join(w.TempDir(), "guild.dump")
	w.tool("pg_dump", "-Fc", "-d", w.url, "-f", w.dump)
}

func (w *lifeWorld) restore(args ...string) {
	w.Helper()
	w.tool("pg_restore", append(args, "-d", w.url, w.dump)...)
}

// post posts, and retries while the database is unavailable.
func (w *lifeWorld) post(n *lifeNode, content string) events.Cursor {
	w.Helper()
	for deadline := time.Now().Add(lifePatience); ; {
		p, err := n.db.Post(w.Context(), newMessage(w.channel, "alice", content))
		if err == nil {
			w.acked[content] = p.Cursor
			return p.Cursor
		}
		if !errors.Is(err, db.ErrUnavailable) || time.Now().After(deadline) {
			w.Fatalf("%s: %v", content, err)
		}
	}
}

// until waits for a condition.
func (w *lifeWorld) until(what func() string) {
	w.Helper()
	for deadline := time.Now().Add(lifePatience); ; {
		lacks := what()
		if lacks == "" {
			return
		}
		if time.Now().After(deadline) {
			w.Fatal(lacks)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *lifeWorld) untilAllAreTold(clients ...*lifeClient) {
	w.Helper()
	w.until(func() string {
		for content, at := range w.acked {
			for _, c := range clients {
				if !c.told(content, at) {
					return fmt.Sprintf("%s was not told of %s, acknowledged as %v", c.name, content, at)
				}
			}
		}
		return ""
	})
}
