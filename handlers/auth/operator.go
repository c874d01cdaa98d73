package auth

import (
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"path/filepath"
)

// An OperatorKey proves that a request comes from an operator of the server. Everyone who can read the key in
// the state directory may operate the server.
type OperatorKey struct{ key *KeyFile }

const operatorKeyFile = "operator.key"

// OpenOperatorKey opens the operator key in dir, and creates the key if the file does not exist.
func OpenOperatorKey(dir string) (*OperatorKey, error) {
	key, err := openKeyFile(filepath.Join(dir, operatorKeyFile))
	if err != nil {
		return nil, fmt.Errorf("operator: %w", err)
	}
	return &OperatorKey{key}, nil
}

// Token returns the key as a bearer token. It returns an error if the key cannot be read and
// no earlier key is in use.
func (o *OperatorKey) Token() (string, error) {
	key, err := o.key.Current()
	return hex.EncodeToString(key), err
}

// Matches reports whether token is the operator key. A nil OperatorKey matches no token.
func (o *OperatorKey) Matches(token string) bool {
	if o == nil {
		return false
	}
	want, err := o.Token()
	return err == nil && subtle.ConstantTimeCompare([]byte(token), []byte(want)) == 1
}

// ReadOperatorKey returns the operator key in dir as a bearer token. Unlike OpenOperatorKey it creates no
// file: a running server has created it.
func ReadOperatorKey(dir string) (token string, err error) {
	key := OperatorKey{&KeyFile{path: filepath.Join(dir, operatorKeyFile)}}
	return key.Token()
}

// KeyFile returns the file of the key.
func (o *OperatorKey) KeyFile() *KeyFile { return o.key }
