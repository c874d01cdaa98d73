package handlers_test

import (
	"context"
	"errors"
	"testing"

	"fabric-guild/db"

	"github.com/google/uuid"
)

// heldBack does something while a number before it is undecided: readers see all of it at once, afterwards.
func (n *node) heldBack(t *testing.T, do func()) {
	t.Helper()
	id := n.user("holder").general(t, "held").Channel.ID
	undo := errors.New("undo")
	err := n.db.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := tx.UpdateChannel(ctx, uuid.MustParse(id), "holder", db.ChannelUpdate{Name: new("never")}); err != nil {
			return err
		}
		do()
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
}
