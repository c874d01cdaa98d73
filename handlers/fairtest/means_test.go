package fairtest

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/guildtest"
)

// hold sends a request on each of so many connections, reads no more than the head of the answer, and keeps
// the connections until ctx ends.
func (s *scene) hold(ctx context.Context, connections int, method, path, token string) {
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			conn, err := s.begin(ctx, method, path, token)
			if err != nil {
				s.count("no connection", nil)
				return
			}
			defer func() { _ = conn.Close() }()
			<-ctx.Done()
		})
	}
	all.Wait()
}

// begin sends a request on a connection whose system buffers little, and counts the status of the answer.
func (s *scene) begin(ctx context.Context, method, path, token string) (net.Conn, error) {
	conn, err := away.DialContext(ctx, "tcp", s.n.Addr())
	if err != nil {
		return nil, err
	}
	s.requests.Add(1)
	_ = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	head := method + " " + path + " HTTP/1.1\r\nHost: " + s.n.Addr() + "\r\n"
	if token != "" {
		head += "Authorization: Bearer " + token + "\r\n"
	}
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		_ = conn.Close()
		return nil, err
	}
	answer, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
	if err != nil {
		if ctx.Err() == nil {
			s.count("no answer", nil)
		}
		return conn, nil
	}
	var refusal []byte
	if answer.StatusCode >= 300 {
		refusal, _ = io.ReadAll(answer.Body)
	}
	s.count(strconv.Itoa(answer.StatusCode), refusal)
	return conn, nil
}

// holdHTTP2 is hold with streams of one HTTP/2 connection.
func (s *scene) holdHTTP2(ctx context.Context, streams int, path string) {
	t := &http.Transport{DialContext: away.DialContext, Protocols: new(http.Protocols)}
	t.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10}
	t.Protocols.SetUnencryptedHTTP2(true)
	defer t.CloseIdleConnections()
	var all sync.WaitGroup
	for range streams {
		all.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.n.Base()+path, nil)
			if err != nil {
				return
			}
			r.Header.Set("Authorization", "Bearer "+s.tokens[mallory])
			s.requests.Add(1)
			answer, err := t.RoundTrip(r)
			if err != nil {
				return
			}
			defer func() { _ = answer.Body.Close() }()
			var refusal []byte
			if answer.StatusCode >= 300 {
				refusal, _ = io.ReadAll(answer.Body)
			}
			s.count(strconv.Itoa(answer.StatusCode), refusal)
			<-ctx.Done()
		})
	}
	all.Wait()
}

// openFor opens a stream and reads it for a while.
func (s *scene) openFor(ctx context.Context, token, after string, length time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.n.Base()+"/api/stream", nil)
	if err != nil {
		return
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if after != "" {
		r.Header.Set("Last-Event-ID", after)
	}
	r.Close = true
	s.requests.Add(1)
	answer, err := s.web.Do(r)
	if err != nil {
		return
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		refusal, _ := io.ReadAll(answer.Body)
		s.count(strconv.Itoa(answer.StatusCode), refusal)
		select {
		case <-time.After(length):
		case <-ctx.Done():
		}
		return
	}
	lines := bufio.NewReader(answer.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			s.count("a stream that did not begin", nil)
			return
		}
		if strings.HasPrefix(line, "event: stream.") {
			break
		}
	}
	s.count("200", nil)
	defer time.AfterFunc(length, cancel).Stop()
	_, _ = io.Copy(io.Discard, lines)
}

// flood sends bytes on open streams as quickly as they are taken.
func (s *scene) flood(ctx context.Context, streams int) {
	garbage := []byte(strings.Repeat("x", 64<<10))
	var all sync.WaitGroup
	for range streams {
		all.Go(func() {
			for ctx.Err() == nil {
				conn, err := s.begin(ctx, http.MethodGet, "/api/stream", s.tokens[mallory])
				if err != nil {
					return
				}
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
				for err == nil {
					_, err = conn.Write(garbage)
				}
				stop()
				_ = conn.Close()
				select {
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	all.Wait()
}

func (s *scene) postLarge(ctx context.Context) {
	s.ask(ctx, http.MethodPost, "/api/channels/"+s.channel+"/messages", map[string]any{"content": escaped})
}

// crowd fills mallory's channel with members.
func (s *scene) crowd(members int) {
	s.Helper()
	s.channel = s.create(mallory, map[string]any{"memberUserIds": names(members)})
}

// exec changes the database past the server, for what would take minutes through it.
func (s *scene) exec(sql string, args ...any) {
	s.Helper()
	if _, err := dbtest.Connect(s, s.url).Exec(s.Context(), sql, args...); err != nil {
		s.Fatal(err)
	}
}

// pastMemberships lets mallory have joined and left the channel so often, which takes 20 ms a time by the
// rate limit, while a stream of hers was open. In the end she is a member.
func (s *scene) pastMemberships(n int) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	conn, err := s.begin(ctx, http.MethodGet, "/api/stream", s.tokens[mallory])
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	// The rows lie above the last number that was given out, so nobody reads them until that is moved.
	const leave = `
		UPDATE members SET left_seq = pg_sequence_last_value('events_seq'::regclass) + 1
		WHERE channel_id = $1 AND user_id = $2 AND left_seq IS NULL`
	const fill = `
		WITH last AS (
			SELECT pg_sequence_last_value('events_seq'::regclass) AS seq
		), e AS (
			INSERT INTO events (seq, kind, channel_id, user_id)
			SELECT last.seq + i, CASE WHEN i % 2 = 1 THEN 'member.left' ELSE 'member.joined' END, $1, $2
			FROM last, generate_series(1, 2 * $3::bigint) AS i
		)
		INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at, left_seq)
		SELECT $1, $2, last.seq + 2 * i, 0, now(), CASE WHEN i < $3 THEN last.seq + 2 * i + 1 END
		FROM last, generate_series(1, $3::bigint) AS i`
	s.exec(leave, s.channel, mallory)
	s.exec(fill, s.channel, mallory, n)
	s.exec(`SELECT setval('events_seq', (SELECT max(seq) FROM events))`)
	s.exec(`ANALYZE channels, members, events`)
}

// pile gives the target as many memberships as there may be: up to the limit, if there is one.
func (s *scene) pile() {
	s.Helper()
	const limit, unlimited, few = 5000, 100_000, 200
	if !*full {
		s.memberships(few)
		return
	}
	s.memberships(limit)
	members := []string{"target"}
	body := map[string]any{"guildId": "g1", "name": "one more", "xType": "general", "memberUserIds": members}
	url := s.n.Base() + "/api/channels"
	status, err := guildtest.Call(s.Context(), http.MethodPost, url, s.tokens[mallory], body, nil)
	if err != nil {
		s.Fatal(err)
	}
	s.Logf("one membership more than %d: got %d", limit, status)
	if status == http.StatusCreated {
		s.memberships(unlimited - limit)
	}
}

func (s *scene) memberships(n int) {
	s.Helper()
	const fill = `
		WITH c AS (
			INSERT INTO channels (id, guild_id, name, x_type, private, history, created_by, member_count)
			SELECT gen_random_uuid(), 'g1', repeat('n', 100), 'general', true, 'joined', $1, 1
			FROM generate_series(1, $2::bigint)
			RETURNING id
		)
		INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at)
		SELECT c.id, $1, (SELECT max(seq) FROM events), 0, now() FROM c`
	s.exec(fill, "target", n)
	s.exec(`ANALYZE channels, members, events`)
}

// publicChannels are some that mallory could join.
func (s *scene) publicChannels(n int) {
	s.Helper()
	const fill = `
		INSERT INTO channels (id, guild_id, name, x_type, private, history, created_by, member_count)
		SELECT gen_random_uuid(), 'g1', repeat('n', 100), 'general', false, 'joined', 'nobody', 0
		FROM generate_series(1, $1::bigint)`
	s.exec(fill, n)
	s.exec(`ANALYZE channels, members, events`)
}
