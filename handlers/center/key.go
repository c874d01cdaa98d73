package center

import (
	"crypto/pbkdf2"
	"crypto/sha256"
)

// keyIterations slows down guessing the API key from data that was encrypted with a derived key. This number
// of iterations takes about a tenth of a second.
const keyIterations = 200_000

// DeriveKey derives a secret from the API key. All servers with the same API key get the same secret for the
// same purpose. DeriveKey is slow: call it once.
func (c *Client) DeriveKey(purpose string) ([]byte, error) {
	return pbkdf2.Key(sha256.New, c.apiKey, []byte("fabric-guild "+purpose), keyIterations, sha256.Size)
}
