package handlers

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/web"
)

// checkSettings returns what is wrong with the settings that a request asks for; nil: it does not ask.
func checkSettings(x events.XType, loopLimit *int, humans, agents *string) (wrong []web.FieldError) {
	if loopLimit != nil && (*loopLimit < 0 || *loopLimit > events.MaxLoopLimit) {
		detail := fmt.Sprintf("must be a number from 0 to %d; 0 turns the loop guard off",
			events.MaxLoopLimit)
		wrong = append(wrong, web.FieldError{Field: "loopLimit", Detail: detail})
	}
	bound := func(field string, value *string, known []events.Wakes) {
		switch {
		case value == nil:
		case !slices.Contains(known, events.Wakes(*value)):
			wrong = append(wrong, web.FieldError{
				Field: field, Detail: "must be one of " + events.Join(known),
			})
		case !x.Bounded():
			wrong = append(wrong, web.FieldError{
				Field: field, Detail: "is not for dm, discuss and work channels: there, a message wakes " +
					"one member only",
			})
		}
	}
	bound("humanWakes", humans, events.WakesOfHumans)
	bound("agentWakes", agents, events.WakesOfAgents)
	return wrong
}

type changeChannelBody struct {
	Name       *string `json:"name"`
	LoopLimit  *int    `json:"loopLimit"`
	HumanWakes *string `json:"humanWakes"`
	AgentWakes *string `json:"agentWakes"`
}

// updateChannel changes the name and the settings of a channel, as one event.
func (s *Server) updateChannel(w http.ResponseWriter, r *http.Request) error {
	id, channel, _, err := s.begin(w, r)
	if err != nil {
		return err
	}
	body, err := web.Decode[changeChannelBody](w, r)
	if err != nil {
		return err
	}
	if body == (changeChannelBody{}) {
		return web.Malformed(web.FieldError{
			Field: "name", Detail: "is missing; a request changes name, loopLimit, humanWakes or agentWakes",
		})
	}
	if body.Name != nil {
		if wrong := checkName(*body.Name); wrong != nil {
			return web.Refused(wrong...)
		}
	}
	c, at, err := s.changeChannel(r.Context(), id,
		channel, func(ctx context.Context, tx db.Tx, c *db.Channel) (events.Cursor, error) {
			if err := cmp.Or(body.allowed(*c), notArchived(*c), maySteer(*c, id)); err != nil {
				return events.Cursor{}, err
			}
			before := c.Channel
			update := db.ChannelUpdate{
				Name: body.Name, LoopLimit: body.LoopLimit,
				HumanWakes: (*events.Wakes)(body.HumanWakes), AgentWakes: (*events.Wakes)(body.AgentWakes),
			}
			update.Apply(&c.Channel)
			if c.Channel == before {
				return unchanged(ctx, tx.Queries, *c)
			}
			return tx.UpdateChannel(ctx, c.ID, id.UserID, update)
		})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, channelAnswer{c.Channel, at})
}

// allowed returns the error for what a channel of this x-type cannot have.
func (b changeChannelBody) allowed(c db.Channel) error {
	if b.Name != nil {
		if err := notDM(c); err != nil {
			return err
		}
	}
	if wrong := checkSettings(c.XType, b.LoopLimit, b.HumanWakes, b.AgentWakes); wrong != nil {
		return web.Refused(wrong...)
	}
	return nil
}
