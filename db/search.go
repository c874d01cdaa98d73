package db

import (
	"context"
	"regexp"
	"strings"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A Search selects messages by their words.
type Search struct {
	User     string
	Channels []SearchChannel // in which the user is a member
	Query    string          // as websearch_to_tsquery reads it
	Author   string          // empty: any
	Before   int64           // only messages with smaller numbers; 0: all
	Limit    int
}

// A SearchChannel is a channel of a Search.
type SearchChannel struct {
	ID    uuid.UUID
	Whole bool // include messages from times when the user was not a member
}

// A Hit is a message that matches.
type Hit struct {
	StoredMessage
	Channel Channel
	// Snippet is a part of the text. MarkBegin and MarkEnd stand around its words that match. The text itself
	// has neither.
	Snippet string
}

// The marks in Hit.Snippet: characters for private use.
const (
	MarkBegin = "\ue000"
	MarkEnd   = "\ue001"
	// apart stands around each of breaks while Postgres makes the snippet, so that they end words there too.
	apart = "\x01"
)

// links matches links in a query, without the punctuation behind them. In an unquoted word
// websearch_to_tsquery takes : and & for operators, and // for the begin of a path, so a link would find
// nothing.
var links = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://([^\s"]*[^\s".,;:!?)\]])`)

// plain returns a query in which links have no scheme, and are phrases. A text is found by a link without its
// scheme too.
func plain(query string) string {
	var b strings.Builder
	at := 0
	for _, m := range links.FindAllStringSubmatchIndex(query, -1) {
		quote := `"`
		if strings.Count(query[:m[0]], quote)%2 == 1 { // it is in a phrase already
			quote = ""
		}
		b.WriteString(query[at:m[0]] + quote + query[m[2]:m[3]] + quote)
		at = m[1]
	}
	return b.String() + query[at:]
}

const (
	// searchTime is how long a search walks before it answers with what it has found so far.
	searchTime = 200 * time.Millisecond
	// leastWindow is how many numbers a window has at first, and at least. A window that took little time is
	// followed by one of twice the size.
	leastWindow = 4096
	windowTime  = 100 * time.Millisecond // a larger window that takes longer is given up, and tried smaller
	longWindow  = 5 * time.Second        // for the smallest window: it must not fail
)

// SearchScope returns the channels of a search: those of which user is a member, in guilds (nil: any) and in
// guild (empty: any). words is how many words and operators the query has. indexed is the position up to
// which messages can be found.
func (q Queries) SearchScope(
	ctx context.Context, user string, guilds []string, guild, query string,
) (all []SearchChannel, words int, indexed events.Cursor, err error) {
	const channels = `
		SELECT c.id, c.history = 'all' FROM members m CROSS JOIN LATERAL (
			SELECT c.id, c.history, c.guild_id FROM channels c WHERE c.id = m.channel_id LIMIT 1) c
		WHERE m.user_id = $1 AND m.left_seq IS NULL
			AND ($2::text[] IS NULL OR c.guild_id = ANY ($2)) AND ($3 = '' OR c.guild_id = $3)`
	reach := `
		SELECT numnode(` + queryOf("$1::text") + `), w.seq, log_epoch() FROM words_cursor w`
	var b pgx.Batch
	b.Queue(channels, user, guilds, guild).Query(func(rows pgx.Rows) (err error) {
		all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[SearchChannel])
		return err
	})
	b.Queue(reach, plain(query)).QueryRow(
		func(row pgx.Row) error { return row.Scan(&words, &indexed.Seq, &indexed.Epoch) },
	)
	err = q.conn.SendBatch(ctx, &b).Close()
	return all, words, indexed, sentinel(err)
}

// Search returns the newest messages that match and that the user may read, at most s.Limit, newest first. It
// walks windows of numbers of the event log, from the newest on. If next is not 0, the search has not looked
// at messages with smaller numbers yet: they may be searched with Before. It takes about 200 ms at most.
func (d *DB) Search(ctx context.Context, s Search) (hits []Hit, next int64, err error) {
	began := time.Now()
	s.Query = plain(s.Query)
	const end = `SELECT w.seq FROM words_cursor w`
	if err := d.conn.QueryRow(ctx, end).Scan(&next); err != nil {
		return nil, 0, sentinel(err)
	}
	next++
	if s.Before > 0 {
		next = min(next, s.Before)
	}
	for width := int64(leastWindow); next > 1 && len(hits) < s.Limit; {
		low := max(1, next-width)
		took := time.Now()
		seqs, channels, err := d.searchWindow(ctx, &s, low, next, width > leastWindow, s.Limit-len(hits))
		switch {
		case code(err) == "57014" && ctx.Err() == nil && width > leastWindow:
			width = max(leastWindow, width/8)
		case err != nil:
			return nil, 0, sentinel(err)
		default:
			found, err := d.hitsAt(ctx, &s, channels, seqs)
			if err != nil {
				return nil, 0, err
			}
			hits = append(hits, found...)
			if next = low; len(seqs) == s.Limit-len(hits)+len(found) { // the window may have more
				next = seqs[len(seqs)-1]
			}
			if time.Since(took) < windowTime/4 {
				width *= 2
			}
		}
		if time.Since(began) >= searchTime {
			break
		}
	}
	if next <= 1 {
		next = 0
	}
	return hits, next, nil
}

// searchWindow returns the places of the newest matches in [low, high), newest first. With timed it gives up
// after windowTime.
//
// It reads rows of message_words only where the user may read the messages: in each interval of the user that
// reaches into the window.
func (d *DB) searchWindow(
	ctx context.Context, s *Search, low, high int64, timed bool, limit int,
) (seqs []int64, channels []uuid.UUID, err error) {
	const timeout = `SELECT set_config('statement_timeout', $1, true)`
	window := `
		SELECT w.seq, c.id
		FROM (SELECT ` + queryOf("$6::text") + ` AS query OFFSET 0) q
		CROSS JOIN unnest($2::uuid[], $3::boolean[]) AS c (id, whole)
		CROSS JOIN LATERAL (
			SELECT 0::bigint AS first, NULL::bigint AS ended WHERE c.whole
			UNION ALL
			SELECT i.first, i.ended FROM intervals_in(c.id, $1, $4, $5) i WHERE NOT c.whole) i
		CROSS JOIN LATERAL (
			SELECT w.seq FROM message_words w
			WHERE w.channel_id = c.id AND w.seq >= greatest($4, i.first) AND w.seq < least($5, i.ended)
				AND w.words @@ q.query
				AND ($7 = '' OR (SELECT m.author_user_id FROM messages m WHERE m.channel_id = c.id
					AND m.seq = w.seq) = $7)
			ORDER BY w.seq DESC LIMIT $8) w
		ORDER BY w.seq DESC LIMIT $8`
	ids := make([]uuid.UUID, len(s.Channels))
	whole := make([]bool, len(s.Channels))
	for i, c := range s.Channels {
		ids[i], whole[i] = c.ID, c.Whole
	}
	limited := longWindow
	if timed {
		limited = windowTime
	}
	var b pgx.Batch
	b.Queue(timeout, limited.String())
	b.Queue(window, s.User, ids, whole, low, high, s.Query, s.Author, limit).Query(func(rows pgx.Rows) error {
		var seq int64
		var channel uuid.UUID
		_, err := pgx.ForEachRow(rows, []any{&seq, &channel}, func() error {
			seqs = append(seqs, seq)
			channels = append(channels, channel)
			return nil
		})
		return err
	})
	err = d.conn.SendBatch(ctx, &b).Close()
	return seqs, channels, err
}

// selectChannels is selectChannel for several channels.
var selectChannels = strings.Replace(selectChannel, "c.id = $1", "c.id = ANY ($1)", 1)

// hitsAt returns the hits at some places, in their order. A place whose message does not match any more, or
// may not be read, has no hit.
func (d *DB) hitsAt(
	ctx context.Context, s *Search, channels []uuid.UUID, seqs []int64,
) (hits []Hit, err error) {
	snippets := `
		SELECT m.channel_id, m.seq, ts_headline('pg_catalog.simple',
			regexp_replace(translate(m.content, $4::text || $5, ''),
				'(` + breaks + `)', $5::text || '\1' || $5, 'g'), q.query,
			'StartSel=' || left($4, 1) || ', StopSel=' || right($4,
				1) || ', MinWords=12, MaxWords=30, ShortWord=0')
		FROM (SELECT ` + queryOf("$3::text") + ` AS query OFFSET 0) q
		CROSS JOIN unnest($1::uuid[], $2::bigint[]) AS u (channel, seq)
		CROSS JOIN LATERAL (
			SELECT m.channel_id, m.seq, m.content FROM messages m WHERE m.channel_id = u.channel
				AND m.seq = u.seq LIMIT 1) m
		WHERE ` + wordsOf("m.content") + ` @@ q.query`
	if len(seqs) == 0 {
		return nil, nil
	}
	messages := selectMessage + `
		WHERE m.id = ANY (ARRAY(
			SELECT x.id FROM unnest($2::uuid[], $3::bigint[]) AS u (channel, seq) CROSS JOIN LATERAL (
				SELECT x.id FROM messages x WHERE x.channel_id = u.channel AND x.seq = u.seq LIMIT 1) x))
		ORDER BY m.seq DESC`
	snippet := map[int64]string{}
	of := map[uuid.UUID]Channel{}
	var b pgx.Batch
	b.Queue(selectChannels, channels, s.User).Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Channel])
		for _, c := range found {
			of[c.ID] = c
		}
		return err
	})
	b.Queue(snippets, channels, seqs, s.Query, MarkBegin+MarkEnd, apart).Query(func(rows pgx.Rows) error {
		var channel uuid.UUID
		var seq int64
		var text string
		_, err := pgx.ForEachRow(rows, []any{&channel, &seq, &text}, func() error {
			snippet[seq] = strings.ReplaceAll(text, apart, "")
			return nil
		})
		return err
	})
	b.Queue(messages, s.User, channels, seqs).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			m, err := scanMessage(rows)
			if err != nil {
				return err
			}
			c := of[m.ChannelID]
			text, matches := snippet[m.Seq]
			if !matches || c.JoinedSeq == nil || m.In == nil && c.History != "all" {
				continue
			}
			m.Message = m.AsSeen(&c)
			if !m.Deleted && !m.Redacted { // the reader must not learn what the text says now
				hits = append(hits, Hit{m, c, text})
			}
		}
		return rows.Err()
	})
	err = d.conn.SendBatch(ctx, &b).Close()
	return hits, sentinel(err)
}
