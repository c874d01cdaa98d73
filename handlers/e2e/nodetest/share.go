package nodetest

import "testing"

// A Small is a test that need not have a node of its own: to start one takes longer than the test.
type Small struct {
	Name string
	Test func(t *testing.T, n *Node)
}

// Share runs small tests on one node, one after another: each may count what it stores.
func Share(t *testing.T, tests ...Small) {
	t.Parallel()
	n := Start(t, Setup{})
	for _, s := range tests {
		t.Run(s.Name, func(t *testing.T) { s.Test(t, n) })
	}
}
