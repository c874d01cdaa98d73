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
)

// hold sends a request on each of this number of connections. It reads only the headers of the answers, and
// keeps the connections until ctx ends.
func (s *attacker) hold(ctx context.Context, connections int, method, path, token string) {
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

// begin sends a request on a connection with a small receive buffer, and counts the status of the answer.
func (s *attacker) begin(ctx context.Context, method, path, token string) (net.Conn, error) {
	conn, err := away.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	s.requests.Add(1)
	_ = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	head := method + " " + path + " HTTP/1.1\r\nHost: " + s.Addr + "\r\n"
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
		if refusal, err = io.ReadAll(answer.Body); err != nil {
			return conn, nil // the end of the attack cut the answer
		}
	}
	s.count(strconv.Itoa(answer.StatusCode), refusal)
	return conn, nil
}

// holdHTTP2 is like hold, but with streams of one HTTP/2 connection.
func (s *attacker) holdHTTP2(ctx context.Context, streams int, path string) {
	t := &http.Transport{DialContext: away.DialContext, Protocols: new(http.Protocols)}
	t.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10}
	t.Protocols.SetUnencryptedHTTP2(true)
	defer t.CloseIdleConnections()
	var all sync.WaitGroup
	for range streams {
		all.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Base+path, nil)
			if err != nil {
				return
			}
			r.Header.Set("Authorization", "Bearer "+s.Tokens[mallory])
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
func (s *attacker) openFor(ctx context.Context, token, after string, length time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Base+"/api/stream", nil)
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

// flood sends bytes on open streams as fast as the server accepts them.
func (s *attacker) flood(ctx context.Context, streams int) {
	garbage := []byte(strings.Repeat("x", 64<<10))
	var all sync.WaitGroup
	for range streams {
		all.Go(func() {
			for ctx.Err() == nil {
				conn, err := s.begin(ctx, http.MethodGet, "/api/stream", s.Tokens[mallory])
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

func (s *attacker) postLarge(ctx context.Context) {
	s.ask(ctx, http.MethodPost, "/api/channels/"+s.Channel+"/messages", map[string]any{"content": escaped})
}
