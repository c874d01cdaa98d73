package handlers

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/center"
	"fabric-guild/handlers/edge"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

// RefreshAnswer is the answer of POST /api/admin/refresh. The command that calls the route prints it.
type RefreshAnswer struct {
	OK      bool          `json:"ok"`
	Before  *center.Admin `json:"before"`
	After   *center.Admin `json:"after"`
	Changed bool          `json:"changed"`
}

// refreshAdmin fetches the admin from Center now. Only the operator may call it.
func (s *Server) refreshAdmin(w http.ResponseWriter, r *http.Request) error {
	if err := web.NoTokenInQuery(r); err != nil {
		return err
	}
	token, err := auth.Bearer(r)
	if err != nil {
		return err
	}
	if !s.operator.Matches(token) {
		return web.NewProblem(http.StatusUnauthorized, "operator_only",
			"send the operator key, which is in the server's state directory, as the bearer token")
	}
	if _, err := web.Query(r); err != nil {
		return err
	}
	before, after, changed := s.admin.Refresh(r.Context())
	return web.WriteJSON(w, http.StatusOK, RefreshAnswer{true, before, after, changed})
}

// adminFor returns the user who hears a message as the admin if the message's channel is a triage channel, or
// "" if there is no admin. It blocks only in a triage channel, and only while the very first fetch of the
// admin is in progress. The caller must call it before the message's transaction, so that no lock is held
// during the wait.
func (s *Server) adminFor(ctx context.Context, id auth.Identity, channel uuid.UUID) (string, error) {
	admin, filled := s.admin.Snapshot()
	if !filled {
		c, err := visible(ctx, s.db.Queries, id, channel)
		if err != nil {
			return "", err
		}
		if c.XType == events.Triage {
			admin, _ = s.admin.Await(ctx)
		}
	}
	if admin == nil {
		return "", nil
	}
	return admin.UserID, nil
}

// stillAdmin returns the user who heard m as the admin, if that user is still the admin, and "" otherwise.
// That user also hears the edits of m.
func (s *Server) stillAdmin(m *events.Message) string {
	if admin, _ := s.admin.Snapshot(); admin != nil && admin.UserID == m.Admin {
		return m.Admin
	}
	return ""
}

// RequestRefresh calls POST /api/admin/refresh of the server at addr, with the operator key in dir. certFile
// is the server's certificate: RequestRefresh accepts no other one. If certFile is empty, RequestRefresh uses
// plain HTTP. It blocks for at most refreshTimeout.
func RequestRefresh(ctx context.Context, dir, addr, basePath, certFile string) (a RefreshAnswer, err error) {
	token, err := auth.ReadOperatorKey(dir)
	if err != nil {
		return a, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return a, fmt.Errorf("the server's address: %w", err)
	}
	// A server that listens on all addresses is reachable on loopback: this is the same machine.
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme, trust := "http", (*tls.Config)(nil)
	if certFile != "" {
		scheme = "https"
		if trust, err = edge.Pinned(certFile); err != nil {
			return a, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+"://"+net.JoinHostPort(host, port)+
		basePath+"/api/admin/refresh", nil)
	if err != nil {
		return a, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	// Use no proxy and follow no redirects: nobody else may see the key.
	straight := http.Client{
		Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true, TLSClientConfig: trust},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := straight.Do(r)
	if err != nil {
		return a, fmt.Errorf("reach the server: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		if resp.StatusCode == http.StatusUnauthorized {
			return a, fmt.Errorf("the server answered %s; is its -state %s?", resp.Status, dir)
		}
		var p web.Problem
		// Ignore the error: the answer of a proxy is not a problem document.
		_ = json.NewDecoder(io.LimitReader(resp.Body, web.MaxBody)).Decode(&p)
		return a, errors.New(strings.TrimSuffix("the server answered "+resp.Status+": "+p.Detail, ": "))
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, web.MaxBody)).Decode(&a); err != nil {
		return a, fmt.Errorf("read the server's answer: %w", err)
	}
	return a, nil
}

const refreshTimeout = 10 * time.Second
