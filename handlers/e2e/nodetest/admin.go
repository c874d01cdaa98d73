package nodetest

import (
	"testing"
)

// An AdminJSON is the admin in an answer.
type AdminJSON struct {
	Email  string `json:"email"`
	UserID string `json:"userId"`
}

// A Refreshed is the answer to a refresh of the admin.
type Refreshed struct {
	OK      bool       `json:"ok"`
	Before  *AdminJSON `json:"before"`
	After   *AdminJSON `json:"after"`
	Changed bool       `json:"changed"`
}

// Operator returns the user with the operator key of the node.
func (n *Node) Operator(t *testing.T) *User {
	t.Helper()
	token, err := n.key.Token()
	if err != nil {
		t.Fatal(err)
	}
	return n.As("the operator", token)
}

// Operate refreshes the admin, as the operator.
func (n *Node) Operate(t *testing.T, status int) Refreshed {
	t.Helper()
	return Call[Refreshed](t, n.Operator(t), status, "POST", "/api/admin/refresh", nil)
}
