package handlers

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/chat"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

// maxFirstMembers limits the number of members in the request that creates a channel. The creator does not
// count.
const maxFirstMembers = 1000

type channelAnswer struct {
	Channel events.Channel `json:"channel"`
	Cursor  events.Cursor  `json:"cursor"`
}

type createChannelBody struct {
	GuildID       string   `json:"guildId"`
	Name          *string  `json:"name"`
	XType         string   `json:"xType"`
	MemberUserIDs []string `json:"memberUserIds"`
	WakeUserIDs   []string `json:"wakeUserIds"`
	Private       bool     `json:"private"`
	History       *string  `json:"history"`
	LoopLimit     *int     `json:"loopLimit,omitempty"`
	HumanWakes    *string  `json:"humanWakes,omitempty"`
	AgentWakes    *string  `json:"agentWakes,omitempty"`
}

func (s *Server) createChannel(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	if _, err := web.Query(r); err != nil {
		return err
	}
	body, err := web.Decode[createChannelBody](w, r)
	if err != nil {
		return err
	}
	if err := s.weigh(w, id.UserID, 0, len(body.MemberUserIDs)); err != nil {
		return err
	}
	key, err := requestKey(r, id, body)
	if err != nil {
		return err
	}
	c, members, wake, err := body.channel(id)
	if err != nil {
		return err
	}
	return s.once(w, r, key, func(ctx context.Context, tx db.Tx) (int, any, error) {
		at, created, err := tx.CreateChannel(ctx, &c, members, wake)
		status := http.StatusCreated
		if !created {
			status = http.StatusOK
		}
		return status, channelAnswer{c, at}, err
	})
}

// channel checks the body and returns the channel that it asks for. members are the creator, then the users
// in memberUserIds, and then, in a triage channel, the users in wakeUserIds. No user is in members twice.
func (b createChannelBody) channel(id auth.Identity) (c events.Channel, members, wake []string, err error) {
	c = events.Channel{
		ID: uuid.Must(uuid.NewV7()), GuildID: b.GuildID, XType: events.XType(b.XType),
		Private: b.Private, History: "joined", CreatedBy: id.UserID,
		Settings: events.DefaultSettings(events.XType(b.XType)),
	}
	wrong := checkID("guildId", b.GuildID)
	if !slices.Contains(events.XTypes, c.XType) {
		wrong = append(wrong, web.FieldError{
			Field: "xType", Detail: "must be one of " + events.Join(events.XTypes),
		})
	}
	if b.History != nil {
		if c.History = *b.History; c.History != "joined" && c.History != "all" {
			wrong = append(wrong, web.FieldError{Field: "history", Detail: "must be joined or all"})
		}
	}
	wrong = append(wrong, checkSettings(c.XType, b.LoopLimit, b.HumanWakes, b.AgentWakes)...)
	settings := db.ChannelUpdate{
		LoopLimit: b.LoopLimit, HumanWakes: (*events.Wakes)(b.HumanWakes),
		AgentWakes: (*events.Wakes)(b.AgentWakes),
	}
	settings.Apply(&c)
	listed, bad := distinct("memberUserIds", b.MemberUserIDs)
	wrong = append(wrong, bad...)
	wake, bad = distinct("wakeUserIds", b.WakeUserIDs)
	wrong = append(wrong, bad...)
	members = []string{id.UserID}
	for _, m := range listed {
		if m != id.UserID {
			members = append(members, m)
		}
	}
	for _, u := range wake {
		switch {
		case slices.Contains(members, u):
		case c.XType == events.Triage:
			members = append(members, u)
		default:
			wrong = append(wrong, web.FieldError{
				Field: "wakeUserIds", Detail: "names users who are not in memberUserIds",
			})
		}
	}
	if len(wake) > 0 && !c.XType.HasWakeList() {
		wrong = append(wrong, web.FieldError{
			Field: "wakeUserIds", Detail: "is for triage and custom channels only",
		})
	}
	switch {
	case c.XType != events.DM:
		if b.Name != nil {
			c.Name = *b.Name
		}
		wrong = append(wrong, checkName(c.Name)...)
	case len(members) != 2:
		wrong = append(wrong, web.FieldError{
			Field: "memberUserIds", Detail: "must name exactly one other user, because a dm has two members",
		})
	case b.Name != nil && *b.Name != "":
		wrong = append(wrong, web.FieldError{Field: "name", Detail: "is not for a dm"})
	}
	if len(wrong) > 0 {
		return c, nil, nil, web.Refused(wrong...)
	}
	if !id.MayEnter(c.GuildID) {
		return c, nil, nil, web.NewProblem(http.StatusForbidden, "guild_forbidden",
			"your token is not for this guild")
	}
	return c, members, wake, nil
}

func (s *Server) listChannels(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	q, err := web.Query(r, "guildId", "member", "archived", "limit", "after", "unread")
	if err != nil {
		return err
	}
	list := db.ChannelQuery{User: id.UserID, Guilds: id.Guilds, GuildID: q.Get("guildId")}
	if list.Limit, err = web.PageLimit(q); err != nil {
		return err
	}
	if list.Archived, err = web.Bool(q, "archived"); err != nil {
		return err
	}
	unread, err := web.Bool(q, "unread")
	if err != nil {
		return err
	}
	switch q.Get("member") {
	case "", "me":
	case "any":
		list.Joinable = true
	default:
		return web.Malformed(web.FieldError{Field: "member", Detail: "must be me or any"})
	}
	if list.GuildID != "" && !chat.ValidID(list.GuildID) {
		return web.Malformed(checkID("guildId", list.GuildID)...)
	}
	if after := q.Get("after"); after != "" {
		var ok bool
		if list.After, ok = web.ParseID(after); !ok {
			return web.Malformed(web.FieldError{
				Field: "after", Detail: "must be the value of next in an earlier page",
			})
		}
	}
	asked := list.Limit
	list.Limit++
	found, err := s.db.ListChannels(r.Context(), list)
	if err != nil {
		return err
	}
	items, err := s.channelItems(r.Context(), id.UserID, found, unread, db.Now)
	if err != nil {
		return err
	}
	p := web.Page{Limit: asked}
	for _, c := range items {
		p.Add(c, c.ID.String())
	}
	return p.Write(w)
}

func (s *Server) channel(w http.ResponseWriter, r *http.Request) error {
	c, err := s.look(w, r)
	if err != nil {
		return err
	}
	members, err := s.db.ListMembers(r.Context(), c.ID, 0, 0, web.MaxPageLimit)
	if err != nil {
		return err
	}
	answer := oneChannel{Channel: c.Channel, Members: memberItems(members), MemberCount: c.MemberCount}
	if c.XType.HasWakeList() {
		users, err := s.db.WakeList(r.Context(), c.ID)
		if err != nil {
			return err
		}
		answer.WakeUserIDs = &users
	}
	if c.XType.TakesTurns() {
		turn := asItem(turnOf(c))
		answer.Turn = &turn
	}
	return web.WriteJSON(w, http.StatusOK, answer)
}

type oneChannel struct {
	Channel     events.Channel `json:"channel"`
	Members     []memberItem   `json:"members"` // the first 200; GET .../members has all of them
	MemberCount int            `json:"memberCount"`
	WakeUserIDs *[]string      `json:"wakeUserIds,omitempty"` // only in triage and custom channels
	Turn        *turnItem      `json:"turn,omitempty"`        // only in discuss and work channels
}

func (s *Server) archiveChannel(w http.ResponseWriter, r *http.Request) error {
	id, channel, _, err := s.begin(w, r)
	if err != nil {
		return err
	}
	c, at, err := s.changeChannel(r.Context(), id,
		channel, func(ctx context.Context, tx db.Tx, c *db.Channel) (events.Cursor, error) {
			if err := cmp.Or(notDM(*c), maySteer(*c, id)); err != nil {
				return events.Cursor{}, err
			}
			if c.ArchivedSeq != nil {
				return unchanged(ctx, tx.Queries, *c)
			}
			at, archivedAt, err := tx.ArchiveChannel(ctx, c.ID, id.UserID)
			c.ArchivedAt = &archivedAt
			return at, err
		})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, channelAnswer{c.Channel, at})
}
