package db

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"fabric-guild/events"

	"github.com/jackc/pgx/v5"
)

const (
	wordsBatch = 100    // events per transaction of the indexer: some milliseconds of Postgres
	wordsGap   = 50_000 // numbers per transaction where retention has removed the events
	wordsPause = 250 * time.Millisecond
	wordsRest  = 10 * time.Millisecond // after a batch, if there are more, so that posts go on
	// wordsAgain is how often a server looks whether another one still fills the search index.
	wordsAgain = 5 * time.Second
)

// breaks matches characters that end a word. Postgres takes most of them for letters if the database has the
// locale C, and < for the begin of a tag, whose words it leaves out. It takes the punctuation behind a link
// for a part of the link: breaks matches up to three such characters before a blank. (A + in place of the
// three would take quadratic time.)
const breaks = `[<\u00a0-\u00bf\u00d7\u00f7\u2000-\u200b\u2010-\u2bff\u3000-\u303f` +
	`\ufe00-\ufe0f\uff01-\uff0f\U0001f000-\U0001faff]|[.,;:!?)\]](?=[.,;:!?)\]]{0,2}(\s|$))`

// wordsOf returns the SQL of the words of a text.
func wordsOf(text string) string { return "to_tsvector('pg_catalog.simple', " + spaced(text) + ")" }

// queryOf returns the SQL of the query that a user wrote. Dashes that stand alone are punctuation, as in
// "disk full - retry": websearch_to_tsquery would exclude the word that follows.
func queryOf(text string) string {
	return "websearch_to_tsquery('pg_catalog.simple', regexp_replace(" + spaced(text) +
		`, '(^|\s)-+(?=\s|$)', '\1', 'g'))`
}

func spaced(text string) string {
	return "regexp_replace(" + text + ", '" + breaks + "', ' ', 'g')"
}

// Words counts the work on the search index.
type Words struct {
	Indexed  atomic.Int64 // events that this server has indexed
	Position atomic.Int64 // up to where the index is complete, as this server last saw
}

// RunIndexer fills the search index behind the posts, up to position, until ctx ends. Every server may run
// it: a lock makes them take turns. A server that finds that another one has worked leaves the work to that
// one for wordsAgain. It does nothing itself at that look: otherwise the other one would find that too, and
// both would leave the work to each other.
func (d *DB) RunIndexer(ctx context.Context, position func() events.Cursor, logger *slog.Logger) {
	told, others := false, false
	var looked time.Time
	var last events.Cursor
	for wait(ctx, wordsPause); ctx.Err() == nil; wait(ctx, wordsPause) {
		at := position()
		if (at == last || others) && time.Since(looked) < wordsAgain {
			continue
		}
		var err error
		others, err = d.IndexWords(ctx, at)
		switch {
		case err == nil:
			if told {
				logger.Info("the search index is filled again")
			}
			told = false
			last, looked = at, time.Now()
		case code(err) == errNoEpoch: // Postgres has restarted; the tailer begins an epoch
		case !told && ctx.Err() == nil:
			logger.Error("search index could not be filled; searches do not find new messages until a "+
				"retry succeeds", "error", err)
			told = true
		}
	}
}

// IndexWords fills the search index up to a position that Tail has reached. It stops early if another server
// is at it, or has been since the last call: then others is true. It also stops if the database is in another
// epoch.
func (d *DB) IndexWords(ctx context.Context, at events.Cursor) (others bool, err error) {
	for ctx.Err() == nil {
		others, more, err := d.indexBatch(ctx, at)
		if err != nil || others || !more {
			return others, sentinel(err)
		}
		wait(ctx, wordsRest)
	}
	return false, ctx.Err()
}

// indexBatch indexes the next events. more says that there may be others up to the position. others says that
// another server has the lock, or has moved the index since this server saw it last: then indexBatch has done
// nothing.
//
// Edits need no lock: whoever stores a message's row of message_words first wins, and an edit replaces a row
// that is there. An edit that is not committed yet makes the insert wait, and then the insert does nothing.
func (d *DB) indexBatch(ctx context.Context, at events.Cursor) (others, more bool, err error) {
	const look = `
		SELECT w.seq, f.seq, log_epoch(), pg_try_advisory_xact_lock($1, 0) FROM words_cursor w, log_floor f`
	batch := `
		WITH e AS (
			SELECT e.seq, e.kind, e.message_id FROM events e WHERE e.seq > $1 AND e.seq <= $2 ORDER BY e.seq
				LIMIT $3
		), i AS (
			INSERT INTO message_words (channel_id, seq, words)
			SELECT m.channel_id, m.seq, ` + wordsOf("m.content") + ` FROM e CROSS JOIN LATERAL (
				SELECT m.channel_id, m.seq, m.content FROM messages m WHERE m.id = e.message_id LIMIT 1) m
			WHERE e.kind = 'message.created'
			ON CONFLICT ON CONSTRAINT message_words_pkey DO NOTHING
		)
		SELECT count(*), coalesce(max(e.seq), 0) FROM e`
	gap := `
		INSERT INTO message_words (channel_id, seq, words)
		SELECT m.channel_id, m.seq, ` + wordsOf("m.content") + ` FROM channels c CROSS JOIN LATERAL (
			SELECT m.channel_id, m.seq, m.content FROM messages m
			WHERE m.channel_id = c.id AND m.seq > $1 AND m.seq <= $2 ORDER BY m.seq LIMIT $3) m
		ON CONFLICT ON CONSTRAINT message_words_pkey DO NOTHING`
	const move = `UPDATE words_cursor SET seq = $1`
	var n, reached int64
	err = d.inTx(ctx, d.pool, func(ctx context.Context, tx Tx) error {
		var from, floor, epoch int64
		var mine bool
		if err := tx.conn.QueryRow(ctx, look, lockWords).Scan(&from, &floor, &epoch, &mine); err != nil {
			return err
		}
		was := d.Words.Position.Swap(from)
		others = !mine || was != 0 && was != from
		if others || epoch != at.Epoch || from >= at.Seq {
			return nil
		}
		if err := tx.unsynced(ctx); err != nil { // after a crash it is done again
			return err
		}
		if from < floor {
			reached = min(floor, from+wordsGap)
			if _, err := tx.conn.Exec(ctx, gap, from, reached, wordsGap); err != nil {
				return err
			}
			n = reached - from
		} else if err := tx.conn.QueryRow(ctx, batch, from, at.Seq, wordsBatch).Scan(&n,
			&reached); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		_, err := tx.conn.Exec(ctx, move, reached)
		return err
	})
	if err != nil || n == 0 {
		return others, false, err
	}
	d.Words.Position.Store(reached)
	d.Words.Indexed.Add(n)
	return others, reached < at.Seq, nil
}

// replaceWords replaces the words of a message, in the transaction that changes its text. The caller must
// hold the message. It may wait for the indexer, so it must come before the append.
func replaceWords(b *pgx.Batch, m *events.Message, content string) {
	upsert := `
		INSERT INTO message_words (channel_id, seq, words) VALUES ($1, $2, ` + wordsOf("$3::text") + `)
		ON CONFLICT ON CONSTRAINT message_words_pkey DO UPDATE SET words = EXCLUDED.words`
	b.Queue(upsert, m.ChannelID, m.Seq, content)
}
