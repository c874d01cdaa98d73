package nodetest

import (
	"testing"
)

type AdminJSON struct {
	Email  string `json:"email"`
	UserID string `json:"userId"`
}

type Refreshed struct {
	OK      bool       `json:"ok"`
	Before  *AdminJSON `json:"before"`
	After   *AdminJSON `json:"after"`
	Changed bool       `json:"changed"`
}

// Operator is who can read the node's state directory.
func (n *Node) Operator(t *testing.T) *User {
	t.Helper()
	token, err := n.key.Token()
	if err != nil {
		t.Fatal(err)
	}
	return n.As("the operator", token)
}

func (n *Node) Operate(t *testing.T, status int) Refreshed {
	t.Helper()
	return Call[Refreshed](t, n.Operator(t), status, "POST", "/api/admin/refresh", nil)
}
