package handlers

import (
	"context"
	"net/http"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

// letGo carries out /go: agents' messages in the channel may wake again. Only a human may do this, because
// the loop guard stops agents until a human looks.
func letGo(ctx context.Context, tx db.Tx, id auth.Identity, channel uuid.UUID) error {
	c, err := hold(ctx, tx, id, channel, ofMember)
	if err != nil {
		return err
	}
	user, err := tx.User(ctx, id.UserID)
	if err != nil {
		return err
	}
	if user.Kind != events.Human {
		return web.NewProblem(http.StatusForbidden, "not_human",
			"only a human may send /go: the loop guard stops agents until a human looks")
	}
	if err := notArchived(c); err != nil {
		return err
	}
	return tx.Go(ctx, channel)
}

// wakesNobody reports whether the author of a message wants it to wake nobody. Such a message moves no turn.
func wakesNobody(m db.NewMessage) bool { return m.Notice || m.Reply != nil && m.Reply.Keep }
