package center

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"fabric-guild/handlers/chat"
)

// MaxNames is how many names are asked about at a time.
const MaxNames = 100

// ResolveNames returns the user ids of names, without those that Center does not know or gives no valid id
// for. It takes two seconds at most. Of more than MaxNames the first are resolved. When Center fails, nothing
// is: the result is empty, never nil.
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
		return found // strings always can be written
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
		c.logger.Warn("names stay as they were written", "names", len(asked), "error", err)
	}
	return found
}
