package center

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"fabric-guild/handlers/chat"
)

// MaxNames is the maximum number of names in one call to Center.
const MaxNames = 100

// ResolveNames returns the user ids of names. It omits names that Center does not know or answers with an
// invalid id. It resolves only the first MaxNames different names. It blocks for at most two seconds. If
// Center fails, the result is empty. The result is never nil.
func (c *Client) ResolveNames(ctx context.Context, names []string) map[string]string {
	found := map[string]string{}
	asked := make([]string, 0, min(len(names), MaxNames))
	for _, name := range names {
		if len(asked) < MaxNames && !slices.Contains(asked, name) {
			asked = append(asked, name)
		}
	}
	if len(asked) == 0 {
		return found
	}
	body, err := json.Marshal(struct {
		Names []string `json:"names"`
	}{asked})
	if err != nil {
		return found // cannot happen: strings can always be encoded
	}
	err = c.call(ctx, &c.resolveNames, body, func(answer []byte) *failure {
		o, f := readObject(answer)
		for _, name := range asked {
			var id string
			if o.read(name, &id) == nil && chat.ValidID(id) {
				found[name] = id
			}
		}
		return f
	})
	if errors.Is(err, ErrUnavailable) {
		c.logger.Warn("names could not be resolved and stay as they were written",
			"names", len(asked), "error", err)
	}
	return found
}
