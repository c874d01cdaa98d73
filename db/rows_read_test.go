package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A rowsCase is a query that may read a number of rows of a table at most.
type rowsCase struct {
	name, table string
	most        int64
	fill        func(t *testing.T, d *db.DB, c *pgx.Conn) (ask func(d *db.DB) error) // ask is called twice
}

// analyze makes the planner's statistics.
const analyze = `ANALYZE channels, members, messages, events, users, guild_users, message_words, read_markers`

// A frequent query reads only the rows that it needs, and not everything that ever existed, whatever the
// planner knows about the tables: nothing, their current state, or what autovacuum saw when it first looked
// at them. Autovacuum is off, because it would choose one of these at random. With -short, only one query
// runs for each table.
func TestRowsRead(t *testing.T) {
	t.Parallel()
	const many = 3000
	tables := map[string]bool{}
	gone := timesGone()
	pagesGone := gone / 200
	for _, tt := range append(slices.Concat(liveRows, wakeRows, rosterRows), []rowsCase{
		{
			"posts to a large channel", "members",
			20 * 100, func(t *testing.T, d *db.DB, _ *pgx.Conn) func(d *db.DB) error {
				channel, _ := create(t, d, members(many)...)
				return times(20, func(d *db.DB) error {
					_, err := d.Post(t.Context(), newMessage(channel, "u0", "hi", "u1", "u2"))
					return err
				})
			},
		},
		{
			"posts to many on duty", "members",
			20 * 400, func(t *testing.T, d *db.DB, _ *pgx.Conn) func(d *db.DB) error {
				triage := events.Channel{
					ID: uuid.Must(uuid.NewV7()), GuildID: "g1", Name: "ops",
					XType: events.Triage, History: "joined", CreatedBy: "u0",
					Settings: events.DefaultSettings(events.Triage),
				}
				err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
					_, _, err := tx.CreateChannel(ctx, &triage, members(many), members(300))
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				return times(20, func(d *db.DB) error {
					_, err := d.Post(t.Context(), newMessage(triage.ID, "u0", "hi"))
					return err
				})
			},
		},
		{
			"the tail, of texts that were changed since", "members",
			100 * 10, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				channel, _ := create(t, d, "alice")
				comeAndGo(t, c, channel, many)
				p := post(t, d, channel, "alice", "draft")
				m := p.Message
				for n := range 100 {
					err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
						_, err := tx.EditMessage(ctx, &m, "alice", fmt.Sprint("draft ", n), false, "")
						return err
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				return times(1, func(d *db.DB) error {
					tail, err := d.Tail(t.Context(), p.Cursor, 1000)
					if len(tail.Events) != 100 {
						return fmt.Errorf("got %d events, want 100", len(tail.Events))
					}
					return err
				})
			},
		},
		{
			"the history of a newcomer", "messages",
			20 * 50, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				channel, _ := create(t, d, "alice")
				fill(t, c, channel, many)
				err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
					_, err := tx.AddMember(ctx, channel, "bob")
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				p := post(t, d, channel, "alice", "hi, bob")
				// Postgres plans the first queries for their values, and the later ones for all values.
				return times(20, func(d *db.DB) error {
					found, err := historyOf(t.Context(), d,
						db.History{Channel: channel, User: "bob", Limit: 50})
					if len(found) != 1 || found[0].ID != p.ID {
						return fmt.Errorf("got %v and error %w, want what came since", found, err)
					}
					return err
				})
			},
		},
		{
			"pages of a long history", "messages",
			20 * 2 * 55, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				channel, _ := create(t, d, "alice")
				fill(t, c, channel, many)
				before := post(t, d, channel, "alice", "the last").Cursor.Seq
				return times(20, func(d *db.DB) error {
					found, err := historyOf(t.Context(), d,
						db.History{Channel: channel, User: "alice", Before: before, Limit: 50})
					if len(found) != 50 || found[0].Seq >= before {
						return fmt.Errorf("got %d and error %w, want 50 from before %d", len(found),
							err, before)
					}
					before = found[len(found)-1].Seq
					return err
				})
			},
		},
		{
			"what is asked about one who came and went often", "members",
			20 * 7 * 10, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				channel, old, p := oftenGone(t, d, c)
				reply := newMessage(channel, "bob", "it was this one")
				reply.ReplyTo = &p.ID
				return times(20, func(d *db.DB) error {
					reply.ID = uuid.Must(uuid.NewV7())
					_, postErr := d.Post(t.Context(), reply)
					reply.ID = uuid.Must(uuid.NewV7())
					toOld := reply
					toOld.ReplyTo = &old.ID
					if _, err := d.Post(t.Context(), toOld); !errors.Is(err, db.ErrRefused) {
						return fmt.Errorf("a reply to what bob may not see: got %w, want %w", err,
							db.ErrRefused)
					}
					found, channelErr := d.Channel(t.Context(), channel, "bob")
					if channelErr == nil && (found.JoinedSeq == nil || found.LeftSeq == nil ||
						*found.LeftSeq > *found.JoinedSeq) {
						channelErr = fmt.Errorf("got %+v, want a member who had left", found)
					}
					m, messageErr := d.Message(t.Context(), old.ID, "bob")
					if m.In != nil {
						messageErr = fmt.Errorf("got the interval %v of a message that bob may not see",
							*m.In)
					}
					was, wasErr := d.WasMember(t.Context(), channel, "bob", old.Seq)
					if was {
						wasErr = errors.New("got a member, want none yet")
					}
					_, nextErr := d.NextAfter(t.Context(), channel, "bob")
					head, headErr := d.Head(t.Context())
					of, connectErr := d.Memberships(t.Context(), []string{"bob"}, head.Seq,
						events.Place{Left: head.Seq}, 200)
					if connectErr == nil && len(of["bob"]) != 1 {
						connectErr = fmt.Errorf("got %v, want one membership", of)
					}
					return errors.Join(postErr, channelErr, messageErr, wasErr, nextErr, headErr, connectErr)
				})
			},
		},
		{
			"the history of one who came and went often", "members",
			20 * 80, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				channel, _, p := oftenGone(t, d, c)
				return times(20, func(d *db.DB) error {
					found, err := historyOf(t.Context(), d,
						db.History{Channel: channel, User: "bob", Limit: 50})
					if len(found) != 1 || found[0].ID != p.ID {
						return fmt.Errorf("got %d and error %w, want what was said while bob was there",
							len(found), err)
					}
					return err
				})
			},
		},
		{
			"a long replay of one who came and went often", "members",
			int64(pagesGone * (gone + 2*500 + 40)),
			func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				_, old, p := oftenGone(t, d, c)
				return times(1, func(d *db.DB) error {
					heard, pages := 0, 0
					for at := old.Seq; at < p.Cursor.Seq; pages++ {
						page, err := d.Replay(t.Context(), "bob", at, p.Cursor.Seq)
						if err != nil {
							return err
						}
						heard, at = heard+len(page.Events), page.Reached
					}
					if heard != 2*gone+2 || pages > pagesGone {
						return fmt.Errorf("got %d events in %d pages, want %d in %d at most", heard,
							pages, 2*gone+2, pagesGone)
					}
					return nil
				})
			},
		},
		{
			"the channels of a member", "channels",
			20 * 30, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				channelsOf(t, c, "alice", true, many)
				var own []uuid.UUID
				for range 5 {
					id, _ := create(t, d, "bob")
					own = append(own, id)
				}
				return times(20, func(d *db.DB) error {
					found, err := d.ListChannels(t.Context(), db.ChannelQuery{User: "bob", Limit: 50})
					if len(found) != len(own) || found[0].ID != own[0] {
						return fmt.Errorf("got %d channels and error %w, want %d", len(found), err, len(own))
					}
					return err
				})
			},
		},
		{
			"channels to join in one guild of many", "channels",
			20 * 2 * 60, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				channelsOf(t, c, "alice", false, many)
				exec(t, c, `
				INSERT INTO channels (id, guild_id, name, x_type, private, history, created_by, member_count)
				SELECT gen_random_uuid(), 'g7', name, x_type, private, history, created_by, 0
					FROM channels LIMIT 200`)
				return times(20, func(d *db.DB) error {
					found, err := d.ListChannels(t.Context(),
						db.ChannelQuery{User: "bob", GuildID: "g7", Joinable: true, Limit: 50})
					if len(found) != 50 || found[0].GuildID != "g7" {
						return fmt.Errorf("got %d channels and error %w, want 50", len(found), err)
					}
					return err
				})
			},
		},
		{
			"channels to join", "channels",
			20 * 2 * 60, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				channelsOf(t, c, "alice", false, many)
				var after uuid.UUID
				return times(20, func(d *db.DB) error {
					found, err := d.ListChannels(t.Context(),
						db.ChannelQuery{User: "bob", Joinable: true, After: after, Limit: 50})
					if len(found) != 50 {
						return fmt.Errorf("got %d channels and error %w, want 50", len(found), err)
					}
					after = found[49].ID
					return err
				})
			},
		},
		{
			"users of one guild of many", "guild_users",
			20 * 2 * 60, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				guildOf(t, c, "g1", many)
				guildOf(t, c, "g7", 200)
				return times(20, func(d *db.DB) error {
					found, next, err := d.ListUsers(t.Context(),
						db.UserQuery{User: "bob", Guilds: []string{"g7"}, Limit: 50})
					if len(found) != 50 || next == "" {
						return fmt.Errorf("got %d users, next %q and error %w, want 50 and more",
							len(found), next, err)
					}
					ids, err := d.UsersByID(t.Context(), db.UserQuery{User: "bob", Guilds: []string{"g7"}},
						[]string{"user1", "user9", "nobody"})
					if len(ids) != 2 {
						return fmt.Errorf("got %v and error %w, want two users", ids, err)
					}
					return err
				})
			},
		},
		{
			"users of all guilds", "guild_users",
			20 * 60, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				guildOf(t, c, "g1", many)
				return times(20, func(d *db.DB) error {
					found, next, err := d.ListUsers(t.Context(), db.UserQuery{User: "bob", Limit: 50})
					if len(found) != 50 || next == "" {
						return fmt.Errorf("got %d users, next %q and error %w, want 50 and more",
							len(found), next, err)
					}
					return err
				})
			},
		},
		{
			"users in private channels, for one who is not in them or has come and gone often", "members",
			20 * 2 * 20, func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				channelsOf(t, c, "alice", true, many)
				channel, _ := create(t, d, "alice", "carol", "dave")
				exec(t, c, `UPDATE channels SET private = true WHERE id = $1`, channel)
				exec(t, c, `DELETE FROM guild_users WHERE user_id IN ('alice', 'carol', 'dave')`)
				comeAndGo(t, c, channel, many)
				err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
					_, err := tx.AddMember(ctx, channel, "bob")
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				none := []string{"g1"}
				exec(t, c, `DELETE FROM guild_users WHERE guild_id = 'g1'`)
				return times(20, func(d *db.DB) error {
					found, next, err := d.ListUsers(t.Context(),
						db.UserQuery{User: "bob", Guilds: none, Limit: 50})
					if len(found) != 4 || next != "" {
						return fmt.Errorf("got %v, next %q and error %w, want four users", found, next, err)
					}
					ids, err := d.UsersByID(t.Context(), db.UserQuery{User: "bob", Guilds: none},
						[]string{"alice", "zoe"})
					if len(ids) != 1 {
						return fmt.Errorf("got %v and error %w, want alice", ids, err)
					}
					return err
				})
			},
		},
		{
			"the names of the authors in a history, and of the members in a roster", "users",
			20 * (1 + 50 + 50), func(t *testing.T, d *db.DB, c *pgx.Conn) func(d *db.DB) error {
				exec(t, c,
					`INSERT INTO users (id, display_name) SELECT 'u' || n, 'User ' || n
						FROM generate_series(0, $1) AS n`, many)
				channel, _ := create(t, d, members(50)...)
				fill(t, c, channel, 60)
				return times(20, func(d *db.DB) error {
					post(t, d, channel, "u1", "hi")
					found, err := historyOf(t.Context(), d,
						db.History{Channel: channel, User: "u0", Limit: 50})
					if len(found) != 50 || found[0].AuthorName != "User 1" {
						return fmt.Errorf("got %d messages and error %w, want 50, the first by User 1",
							len(found), err)
					}
					roster, err := d.ListMembers(t.Context(), channel, 0, 0, 40)
					if len(roster) != 40 || *roster[3].DisplayName != "User 3" {
						return fmt.Errorf("got %d members and error %w, want 40 with names", len(roster), err)
					}
					return err
				})
			},
		},
	}...) {
		another := tables[tt.table]
		tables[tt.table] = true
		for _, stale := range []bool{false, true} {
			name := tt.name + ", without statistics and with fresh ones"
			if stale {
				name = tt.name + ", stale statistics"
			}
			t.Run(name, func(t *testing.T) {
				if stale || another {
					dbtest.Long(t)
				}
				t.Parallel()
				url := dbtest.New(t)
				filler := dbtest.Connect(t, url) // reports what it has read before it ends
				noAutovacuum(t, filler)
				d := openURL(t, url)
				if stale {
					beginnings(t, d, filler)
					exec(t, filler, analyze)
				}
				ask := tt.fill(t, d, filler)
				d.Close()
				if err := filler.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				tt.wantRows(t, url, ask)
				if !stale {
					analyzer := dbtest.Connect(t, url)
					exec(t, analyzer, analyze)
					if err := analyzer.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
					tt.wantRows(t, url, ask)
				}
			})
		}
	}
}

// wantRows asks, and checks how many rows of the table were read.
func (tt *rowsCase) wantRows(t *testing.T, url string, ask func(d *db.DB) error) {
	t.Helper()
	c := dbtest.Connect(t, url)
	before := rowsRead(t, c, tt.table)
	d, err := db.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	err = ask(d)
	d.Close()
	if err != nil {
		t.Fatal(err)
	}
	if got := rowsRead(t, c, tt.table) - before; got > tt.most {
		t.Errorf("got %d rows of %s read, want %d at most", got, tt.table, tt.most)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// beginnings stores what a guild has when autovacuum first looks at it, which needs 50 rows.
func beginnings(t *testing.T, d *db.DB, c *pgx.Conn) {
	t.Helper()
	channelsOf(t, c, "zoe", false, 30)
	channelsOf(t, c, "zoe", true, 30)
	guildOf(t, c, "g9", 60)
	exec(t, c, `INSERT INTO users (id, display_name) SELECT 'z' || n, 'Zoe' FROM generate_series(1, 60) AS n`)
	for range 6 {
		channel, _ := create(t, d, members(10)...)
		fill(t, c, channel, 10)
	}
}

// noAutovacuum turns autovacuum off for every table.
func noAutovacuum(t *testing.T, c *pgx.Conn) {
	t.Helper()
	const tables = `SELECT relname::text FROM pg_stat_user_tables`
	var all strings.Builder
	for _, table := range column[string](t, c, tables) {
		name := pgx.Identifier{table}.Sanitize()
		all.WriteString(`ALTER TABLE ` + name + ` SET (autovacuum_enabled = false);`)
	}
	exec(t, c, all.String())
}

func times(n int, ask func(*db.DB) error) func(*db.DB) error {
	return func(d *db.DB) error {
		for range n {
			if err := ask(d); err != nil {
				return err
			}
		}
		return nil
	}
}

// rowsRead counts the rows of a table, and the entries of its indexes, that were read so far. It waits until
// the backends that read them have ended.
func rowsRead(t *testing.T, c *pgx.Conn, table string) int64 {
	t.Helper()
	backendsEnd(t, c)
	const query = `
		SELECT (s.seq_tup_read + (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i
			WHERE i.relid = s.relid))::bigint
		FROM pg_stat_user_tables s WHERE s.relname = $1`
	return column[int64](t, c, query, table)[0]
}

// backendsEnd waits until no other backend works in the database. A backend reports its statistics before it
// ends.
func backendsEnd(t *testing.T, c *pgx.Conn) {
	t.Helper()
	const others = `
		SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`
	eventually(t, "backends end", func() bool { return column[int64](t, c, others)[0] == 0 })
}
