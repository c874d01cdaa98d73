package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/web"
)

// once runs do in a transaction and writes its answer. If key is not nil (Idempotency-Key,
// draft-ietf-httpapi-idempotency-key-header-07), do takes effect once: the same transaction stores the
// answer, and a later request with the same key and body gets the stored answer. Errors are not stored: a
// refused request has changed nothing, so the client may send it again.
func (s *Server) once(w http.ResponseWriter, r *http.Request, key *db.RequestKey, do creation) error {
	return s.onceOr(w, r, key, nil, do)
}

// A creation makes the changes that a request asks for, and returns the status and the body of the answer. It
// may run twice.
type creation func(ctx context.Context, tx db.Tx) (status int, answer any, err error)

// onceOr is once. If the transaction finds an earlier answer and again is not nil, again runs in that
// transaction.
func (s *Server) onceOr(w http.ResponseWriter, r *http.Request, key *db.RequestKey,
	again func(ctx context.Context, tx db.Tx, earlier db.Answer) error, do creation,
) error {
	var a db.Answer
	var replayed bool
	err := s.db.InTx(r.Context(), func(ctx context.Context, tx db.Tx) error {
		replayed = false
		if key != nil {
			earlier, err := tx.Recall(ctx, *key)
			if err != nil {
				return err
			}
			if earlier != nil {
				a, replayed = *earlier, true
				if again != nil {
					return again(ctx, tx, a)
				}
				return nil
			}
		}
		status, v, err := do(ctx, tx)
		if err != nil {
			return err
		}
		body, err := web.Encode(v)
		if err != nil {
			return err
		}
		a = db.Answer{Status: status, Body: body}
		if post, ok := v.(postAnswer); ok {
			a.Message = &post.id
		}
		if key == nil {
			return nil
		}
		return tx.Remember(ctx, *key, a)
	})
	switch {
	case errors.Is(err, db.ErrInFlight):
		p := web.NewProblem(http.StatusConflict, "idempotency_in_flight",
			"the first request with this Idempotency-Key is still in progress; wait, and repeat this request")
		p.RetryAfter = 1
		return p
	case errors.Is(err, db.ErrOtherBody):
		return web.NewProblem(http.StatusUnprocessableEntity, "idempotency_key_reused",
			"this Idempotency-Key came with another body before: use a new key for a new request")
	case err != nil:
		return err
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	// after an edit, jsonb has reformatted the stored answer
	return web.Write(w, a.Status, events.OneLine(a.Body))
}

// requestKey returns the request's Idempotency-Key, or nil if there is none. The header may be a string of
// structured fields (RFC 8941 §3.3.3), or the same without quotes. A key is valid for one user and one
// route. It belongs to the decoded body, so another spelling of the same JSON is the same request.
func requestKey(r *http.Request, id auth.Identity, body any) (*db.RequestKey, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return nil, nil
	}
	key := values[0]
	if quoted, ok := strings.CutPrefix(key, `"`); ok {
		if key, ok = strings.CutSuffix(quoted, `"`); !ok {
			key = ""
		}
	}
	bad := func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }
	if len(values) > 1 || key == "" || len(key) > 255 || strings.ContainsFunc(key, bad) {
		p := web.Malformed(web.FieldError{
			Field: "Idempotency-Key", Detail: "must be given once, and have 1 to 255 printable ASCII " +
				"characters, bare or in double quotes",
		})
		p.Code = "idempotency_key_malformed"
		return nil, p
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode a body again: %w", err)
	}
	hash := sha256.Sum256(b)
	return &db.RequestKey{
		User: id.UserID, Route: r.Method + " " + canonical(r.URL.Path), Key: key,
		BodyHash: hash[:],
	}, nil
}

// canonical returns path with its ids in the stored spelling: clients may write ids in upper case.
func canonical(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if id, ok := web.ParseID(part); ok {
			parts[i] = id.String()
		}
	}
	return strings.Join(parts, "/")
}
