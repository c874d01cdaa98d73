package center

import (
	"crypto/pbkdf2"
	"crypto/sha256"
)

// keyIterations makes it slow to guess the API key from what is sealed with a key that is made of it. They take
// about a tenth of a second.
const keyIterations = 200_000

// DeriveKey makes a secret of the API key, which all servers of one Center share. It is slow: call it once. The same
// purpose gives the same secret.
func (c *Client) DeriveKey(purpose string) ([]byte, error) {
	return pbkdf2.Key(sha256.New, c.apiKey, []byte("fabric-guild "+purpose), keyIterations, sha256.Size)
}
