package handlers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"fabric-guild/db"
	"fabric-guild/events/transport"
	"fabric-guild/handlers/web"
)

// A parked claim waits on a connection that was taken over from net/http, as a stream does. So it holds
// neither the buffers of net/http nor the stack of a handler, only a goroutine that notices when the client
// hangs up. The answer closes the connection.
//
// Whatever may end the wait kicks the claim: a ring, its timer, the client's end, the drain. A kick starts a
// goroutine that looks, and either answers or lets the claim sleep again. There is one such goroutine at a
// time.
type parked struct {
	*claiming
	conn   net.Conn
	header http.Header // of the answer
	began  time.Time
	ctx    context.Context // ends when the client has gone
	cancel context.CancelFunc
	timer  *time.Timer // kicks

	mu      sync.Mutex
	working bool // a goroutine looks, or has answered
	again   bool // a kick came meanwhile

	dropped [16]byte // only watch uses it
}

// park takes over the connection of a claim, which outlives its handler.
func (c *claiming) park(w http.ResponseWriter) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		c.leave()
		return fmt.Errorf("take over the connection: %w", err)
	}
	_ = conn.SetDeadline(time.Time{}) // clears the deadline of net/http; if it fails, the answer fails too
	p := &parked{claiming: c, conn: conn, header: w.Header(), began: time.Now()}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.working = true // until the timer is there
	c.server.desks.hold(p)
	p.timer = time.AfterFunc(time.Until(c.end), func() {
		p.timeUp()
		p.kick()
	})
	go p.watch()
	go p.work()
	return nil
}

// hold makes rings and the drain kick a claim until release.
func (x *desks) hold(p *parked) {
	x.mu.Lock()
	x.held[p] = struct{}{}
	x.mu.Unlock()
	d := p.desk
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sleeping = append(d.sleeping, p)
}

func (x *desks) release(p *parked) {
	p.desk.mu.Lock()
	p.desk.sleeping = slices.DeleteFunc(p.desk.sleeping, func(other *parked) bool { return other == p })
	p.desk.mu.Unlock()
	x.mu.Lock()
	delete(x.held, p)
	x.mu.Unlock()
	select {
	case x.left <- struct{}{}:
	default:
	}
}

// watch blocks until the client hangs up or the claim is answered. It reads and drops what the client sends:
// a close with unread bytes would reset the connection, and lose the answer.
func (p *parked) watch() {
	for read := 0; read <= parkedInput; {
		n, err := p.conn.Read(p.dropped[:])
		if err != nil {
			break
		}
		read += n
	}
	p.cancel()
	p.kick()
}

// parkedInput is how many bytes a client may send on a connection with a parked claim.
const parkedInput = 4 << 10

// kick makes the claim look. It does not block.
func (p *parked) kick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again = true
	if !p.working {
		p.working = true
		go p.work()
	}
}

// work looks until nothing has kicked the claim meanwhile, or until the claim has an answer.
func (p *parked) work() {
	for {
		p.mu.Lock()
		p.again = false
		p.mu.Unlock()
		var wake *db.Wake
		var pause time.Duration
		err := p.ctx.Err()
		if err == nil {
			wake, _, pause, err = p.look(p.ctx)
		}
		if wake != nil || err != nil || pause <= 0 {
			p.finish(wake, err) // working stays, so nothing starts work again
			return
		}
		p.mu.Lock()
		if !p.again {
			p.working = false
			p.timer.Reset(pause)
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// finish answers the claim and closes its connection.
func (p *parked) finish(wake *db.Wake, err error) {
	s := p.server
	p.timer.Stop()
	p.leave()
	w := &lastAnswer{conn: p.conn, header: p.header}
	if err = p.answer(p.ctx, w, wake, err); err != nil && p.ctx.Err() == nil {
		problem, told := asProblem(err)
		if !told {
			s.logger.Error("request failed", "request_id", p.header.Get(web.RequestIDHeader), "error", err)
		}
		web.WriteProblem(w, problem)
	}
	p.cancel()
	_ = p.conn.Close()
	s.logClaim(p, w)
	s.desks.release(p)
}

// logClaim does for a parked claim what logRequest does for other requests.
func (s *Server) logClaim(p *parked, w *lastAnswer) {
	const path = "/api/wakes/claim"
	took := time.Since(p.began) + settled
	if w.status == 0 {
		w.status = statusClientGone
	}
	if w.status != http.StatusOK {
		s.metrics.Request(http.MethodPost, path, w.status, took)
	}
	if w.code != "" {
		s.metrics.Refused(w.code)
	}
	s.logger.Log(context.Background(), requestLevel(path, w.status), "request",
		"request_id", p.header.Get(web.RequestIDHeader), "client", p.from, "method", http.MethodPost,
		"path", s.basePath+path, "status", w.status, "duration_ms", took.Milliseconds())
}

// AwaitClaims waits until all parked claims have ended, which Drain makes them do. When ctx ends, it cuts
// their connections. The handlers of claims must have ended before.
func (s *Server) AwaitClaims(ctx context.Context) error {
	x := s.desks
	done := ctx.Done()
	for {
		x.mu.Lock()
		n := len(x.held)
		if ctx.Err() != nil {
			for p := range x.held {
				_ = p.conn.SetDeadline(time.Unix(1, 0))
			}
		}
		x.mu.Unlock()
		if n == 0 {
			return ctx.Err()
		}
		select {
		case <-x.left:
		case <-done:
			done = nil // cut once, then wait for the rest
		}
	}
}

// A lastAnswer is the http.ResponseWriter of the last answer on a connection that was taken over.
type lastAnswer struct {
	conn   net.Conn
	header http.Header
	status int
	code   string // of the problem; empty: no problem
	head   []byte // not written yet
}

// Header implements http.ResponseWriter.
func (a *lastAnswer) Header() http.Header { return a.header }

// Answering implements web.Observer.
func (a *lastAnswer) Answering(code string) { a.code = code }

// WriteHeader implements http.ResponseWriter. The head goes with the first part of the body.
func (a *lastAnswer) WriteHeader(status int) {
	a.status = status
	a.head = transport.Head(status, a.header)
	_ = a.conn.SetWriteDeadline(time.Now().Add(transport.WriteTimeout))
}

// Write implements http.ResponseWriter.
func (a *lastAnswer) Write(b []byte) (int, error) {
	head := a.head
	a.head = nil
	n, err := a.conn.Write(append(head, b...))
	return max(0, n-len(head)), err
}

// SetWriteDeadline is for http.ResponseController.
func (a *lastAnswer) SetWriteDeadline(at time.Time) error { return a.conn.SetWriteDeadline(at) }
