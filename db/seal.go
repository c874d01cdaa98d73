package db

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// A notification's payload is the name of the server that sends it (nodeLength bytes). A question mark
// follows if the server is new and asks who is there. A letter follows if the notification says more than
// that the event log may have grown: its kind (one byte), and its sealed text.

// The kinds of letters.
const (
	letterEvents   = 'e' // see encodeEvent
	letterSignals  = 's' // signals in JSON, one after the other
	letterWakes    = 'w' // users whose claims must look again, each with a space after it
	letterSessions = 'c' // the ids of sessions that are closed, one after the other
)

const (
	nodeLength = 36 // the length of Doorbell.node
	sealBytes  = 12 + 16
	question   = "?" // not in base64

	// letterBytes is how much text fits into a letter: Postgres takes fewer than 8,000 bytes, and base64
	// makes 4 bytes of 3.
	letterBytes = (7999-nodeLength-1)/4*3 - sealBytes
)

// A seal keeps letters from everybody but the servers of an epoch. Every role that may connect to a database
// can hear its notifications and send some. But only a role that may read the tables knows the secret of an
// epoch.
type seal struct {
	epoch int64
	aead  cipher.AEAD // nil: the epoch has no secret
}

// sealed is a cache of the latest seal.
type sealed struct{ latest atomic.Pointer[seal] }

// sealOf returns the seal of an epoch. It reads the secret once in an epoch. It returns nil if there is none,
// or if it cannot be read.
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

// covers returns what a seal covers beside the text: who sends it, its kind, and how events are encoded.
func covers(node string, kind byte) []byte {
	all := append([]byte(node), kind)
	if kind == letterEvents {
		all = append(all, layout...)
	}
	return all
}

// close returns the payload of a sealed letter.
func (s *seal) close(node string, kind byte, text []byte) string {
	raw := s.aead.Seal(nil, nil, text, covers(node, kind))
	payload := make([]byte, 0, nodeLength+1+base64.RawStdEncoding.EncodedLen(len(raw)))
	payload = append(append(payload, node...), kind)
	return string(base64.RawStdEncoding.AppendEncode(payload, raw))
}

// open returns the text of a letter, and false if it was not sealed with s.
func (s *seal) open(node string, kind byte, sealed string) (text string, ok bool) {
	raw, err := base64.RawStdEncoding.DecodeString(sealed)
	if err != nil {
		return "", false
	}
	raw, err = s.aead.Open(raw[:0], nil, raw, covers(node, kind))
	return string(raw), err == nil
}

// letters returns the payloads that carry texts to the other servers. There are none if the epoch has no
// secret. Each text must have at most letterBytes. Texts that fit into one letter share it.
func (d *DB) letters(ctx context.Context, epoch int64, kind byte, texts [][]byte) (payloads []string) {
	if len(texts) == 0 {
		return nil
	}
	s := d.sealOf(ctx, epoch)
	if s == nil {
		return nil
	}
	var letter []byte
	for _, text := range texts {
		if len(letter) > 0 && len(letter)+len(text) > letterBytes {
			payloads = append(payloads, s.close(d.node, kind, letter))
			letter = letter[:0]
		}
		letter = append(letter, text...)
	}
	return append(payloads, s.close(d.node, kind, letter))
}

// A letter is what a notification of another server says.
type letter struct {
	kind  byte // 0: nothing
	epoch int64
	text  string
}

// open returns the letter in a payload. Its kind is 0 if there is none, or if it was not sealed with the
// secret of the epoch in which this server reads.
func (d *DB) open(ctx context.Context, payload string) letter {
	if len(payload) <= nodeLength+1 {
		return letter{}
	}
	s := d.sealOf(ctx, d.epoch.Load())
	if s == nil {
		return letter{}
	}
	kind := payload[nodeLength]
	text, ok := s.open(payload[:nodeLength], kind, payload[nodeLength+1:])
	if !ok {
		return letter{}
	}
	return letter{kind, s.epoch, text}
}
