package db

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"sync"
	"sync/atomic"

	"fabric-guild/events"

	"github.com/jackc/pgx/v5"
)

// The rings between servers carry the events of posts, so that a server that hears a ring need not read them.
// A ring's payload is the name of the server (nodeLength bytes), and the sealed events, if there are any.

const (
	// payloadBytes is how many bytes of events fit into a NOTIFY: Postgres takes fewer than 8,000 bytes of text,
	// base64 makes 4 bytes of 3, and a seal takes sealBytes.
	payloadBytes = (7999-nodeLength)/4*3 - sealBytes
	sealBytes    = 12 + 16

	// carriedBytes bounds the events that wait for the next NOTIFY. The others are left out: reading many events
	// at once is cheap.
	carriedBytes = 64 << 10
)

// outgoing holds the encoded events of posts until the next ring carries them.
type outgoing struct {
	mu    sync.Mutex
	epoch int64 // of all of them
	texts [][]byte
	bytes int
}

// carry hands the event of a post to the next ring. It drops the event if nobody would hear it, or if it does not
// fit: the other servers read it then.
func (b *Doorbell) carry(e *events.Event) {
	if b.alone() {
		return
	}
	text := encodeEvent(e)
	b.outgoing.mu.Lock()
	defer b.outgoing.mu.Unlock()
	if b.outgoing.epoch != e.Cursor.Epoch {
		b.outgoing.emptyLocked()
		b.outgoing.epoch = e.Cursor.Epoch
	}
	if len(text) <= payloadBytes && b.outgoing.bytes+len(text) <= carriedBytes {
		b.outgoing.texts = append(b.outgoing.texts, text)
		b.outgoing.bytes += len(text)
	}
}

func (o *outgoing) emptyLocked() {
	o.texts = nil
	o.bytes = 0
}

// take removes and returns the events that wait, in parts that each fit into a NOTIFY.
func (o *outgoing) take() (epoch int64, parts [][]byte) {
	o.mu.Lock()
	texts := o.texts
	epoch = o.epoch
	o.emptyLocked()
	o.mu.Unlock()
	for len(texts) > 0 {
		n, size := 0, 0
		for n < len(texts) && size+len(texts[n]) <= payloadBytes {
			size += len(texts[n])
			n++
		}
		parts = append(parts, bytes.Join(texts[:n], nil))
		texts = texts[n:]
	}
	return epoch, parts
}

// rings returns the payloads of the next ring. If the events cannot be sealed, the ring carries none.
func (d *DB) rings(ctx context.Context) (payloads []string) {
	epoch, parts := d.outgoing.take()
	if len(parts) > 0 {
		if s := d.sealOf(ctx, epoch); s != nil {
			for _, part := range parts {
				payloads = append(payloads, d.node+s.close(d.node, part))
			}
		}
	}
	if len(payloads) == 0 {
		payloads = []string{d.node}
	}
	return payloads
}

// hearEvents takes the events that the ring of another server carries. It ignores what it cannot open: the events of
// another log or epoch, and everything malformed. Those events are read.
func (d *DB) hearEvents(ctx context.Context, payload string) {
	if len(payload) <= nodeLength {
		return
	}
	if s := d.sealOf(ctx, d.epoch.Load()); s != nil {
		d.known.add(s.open(payload[:nodeLength], payload[nodeLength:])...)
	}
}

// A seal keeps events from everybody but the servers of an epoch. Every role that may connect to a database can
// hear its notifications and send some. But only a role that may read the tables knows the secret of an epoch.
type seal struct {
	epoch int64
	aead  cipher.AEAD // nil: the epoch has no secret
}

// sealed is a cache of the latest seal.
type sealed struct{ latest atomic.Pointer[seal] }

// sealOf returns the seal of an epoch. It reads the secret once in an epoch. It returns nil if there is none, or
// if it cannot be read.
func (d *DB) sealOf(ctx context.Context, epoch int64) *seal {
	const query = `SELECT secret FROM epochs WHERE epoch = $1`
	s := d.sealed.latest.Load()
	if s == nil || s.epoch != epoch {
		timed, cancel := context.WithTimeout(ctx, notifyTimeout)
		defer cancel()
		var secret []byte
		err := d.conn.QueryRow(timed, query, epoch).Scan(&secret)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		s = newSeal(epoch, secret)
		d.sealed.latest.Store(s)
	}
	if s.aead == nil {
		return nil
	}
	return s
}

// newSeal returns a seal with a secret of 32 bytes.
func newSeal(epoch int64, secret []byte) *seal {
	s := &seal{epoch: epoch}
	block, err := aes.NewCipher(secret)
	if err != nil || len(secret) != 32 {
		return s
	}
	// A random nonce repeats with a probability of 2⁻³³ in 2³² rings: 50 days of 1,000 rings a second.
	if s.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		s.aead = nil
	}
	return s
}

// close seals events that a server sends. The seal covers who sends them and how they are encoded.
func (s *seal) close(node string, text []byte) string {
	return base64.RawStdEncoding.EncodeToString(s.aead.Seal(nil, nil, text, []byte(node+layout)))
}

// open returns the events that another server sealed. It returns nothing if the seal is not that of the epoch, or
// if the events are not of the epoch.
func (s *seal) open(node, text string) []*events.Event {
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	if raw, err = s.aead.Open(raw[:0], nil, raw, []byte(node+layout)); err != nil {
		return nil
	}
	found := decodeEvents(string(raw))
	for _, e := range found {
		if e.Cursor.Epoch != s.epoch || e.Cursor.Seq <= 0 {
			return nil
		}
	}
	return found
}
