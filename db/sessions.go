package db

import "context"

// A browser may have streams on several servers. So the server that closes its session tells the others, with
// the doorbell's connection. Nothing is stored: a server that cannot hear learns nothing.

// sessionBytes is the length of a session's id.
const sessionBytes = 16

// OnClosed sets the function that gets the sessions that other servers have closed. It must not block.
func (b *Doorbell) OnClosed(closed func(session [sessionBytes]byte)) { b.closed.Store(&closed) }

// TellClosed tells the other servers that a session is closed. It blocks until Postgres has taken that, for
// up to notifyTimeout. If it fails, they do not learn of it.
func (d *DB) TellClosed(ctx context.Context, session [sessionBytes]byte) {
	if !d.alone() {
		ids := [][]byte{session[:]}
		_ = d.notify(ctx, d.letters(ctx, d.epoch.Load(), letterSessions, ids))
	}
}

// hearClosed closes the sessions whose ids a letter has.
func (b *Doorbell) hearClosed(ids string) {
	closed := b.closed.Load()
	if closed == nil {
		return
	}
	for ; len(ids) >= sessionBytes; ids = ids[sessionBytes:] {
		(*closed)([sessionBytes]byte([]byte(ids[:sessionBytes])))
	}
}
