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
)

const everything = `goose_db_version, channels, epochs, events, guild_users, idempotency_keys, log_floor,
	members, message_words, messages, read_markers, users, wake_consumers, wake_lists,
	wake_workers, wakes, wakes_dead, words_cursor`

// Whatever happens to the database, every post that is acknowledged afterwards reaches an open stream, a
// client that reconnects with its cursor, and a server whose tailer did not run. This holds if posts come at
// once, if the server had time to notice, and if no server ran meanwhile.
//
// noticed is what the server logs. reset is the reason that a reconnecting client gets. restarted is the same
// after a restart of the server. Empty: the cursor is honoured.
func TestNoPostIsLostInAnyLifeOfTheDatabase(t *testing.T) {
	t.Parallel()
	const lost, unknown = events.ResetLostTail, events.ResetUnknownEpoch
	const failedOver = "without its latest events"
	last := func(w *lifeWorld) int64 { return w.seqs[len(w.seqs)-1] }
	for _, tt := range []struct {
		name                      string
		reset, restarted, noticed string
		do                        func(w *lifeWorld)
	}{
		{"nothing happens", "", "", "", func(*lifeWorld) {}},
		{"restored here", lost, lost, failedOver, func(w *lifeWorld) {
			w.execAt(w.super, `DROP DATABASE `+w.name+` WITH (FORCE)`,
				`CREATE DATABASE `+w.name+` OWNER fabric`)
			w.restore()
		}},
		{"restored in place", lost, lost, failedOver, func(w *lifeWorld) {
			w.restore("--clean", "--single-transaction")
		}},
		{"restored in place, step by step", lost, lost, failedOver, func(w *lifeWorld) {
			w.restore("--clean", "--if-exists")
		}},
		{"restored in place, the data only", lost, lost, failedOver, func(w *lifeWorld) {
			w.exec(`TRUNCATE ` + everything)
			w.restore("--data-only")
		}},
		{"made from a template", lost, lost, failedOver, func(w *lifeWorld) {
			w.execAt(w.super, `ALTER DATABASE `+w.name+` ALLOW_CONNECTIONS false`,
				`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '`+w.name+`'`,
				`ALTER DATABASE `+w.name+` RENAME TO `+w.name+`_old`,
				`ALTER DATABASE `+w.name+`_copy RENAME TO `+w.name)
		}},
		{"the sequence is behind", lost, lost, "the sequence is at 5", func(w *lifeWorld) {
			w.exec(`SELECT setval('events_seq', 5)`)
		}},
		{
			"the sequence is a little behind, and a number below is free", lost, lost,
			"contradiction=", func(w *lifeWorld) {
				w.exec(fmt.Sprintf(`DELETE FROM events WHERE seq = %d`, last(w)-1),
					fmt.Sprintf(`DELETE FROM messages WHERE seq = %d`, last(w)-1),
					fmt.Sprintf(`SELECT setval('events_seq', %d)`, last(w)-2))
			},
		},
		{"the sequence is far ahead", "", "", "", func(w *lifeWorld) {
			w.exec(`SELECT setval('events_seq', 1000000)`)
		}},
		{"the sequence was never drawn", lost, lost, "the sequence is at 0", func(w *lifeWorld) {
			w.exec(`ALTER SEQUENCE events_seq RESTART`)
		}},
		{"rows are missing at the start", "", "", "", func(w *lifeWorld) {
			w.exec(fmt.Sprintf(`DELETE FROM events WHERE seq <= %d`, w.seqs[3]))
		}},
		{"rows are missing in the middle", "", "", "", func(w *lifeWorld) {
			w.exec(fmt.Sprintf(`DELETE FROM events WHERE seq BETWEEN %d AND %d`, w.seqs[3], w.seqs[6]))
		}},
		{"rows are missing at the end", lost, "", "does not exist", func(w *lifeWorld) {
			w.exec(fmt.Sprintf(`DELETE FROM events WHERE seq > %d`, w.seqs[6]))
		}},
		{
			"the row of the epoch is missing", unknown, unknown,
			"not in the table of epochs", func(w *lifeWorld) {
				w.exec(`DELETE FROM epochs`)
			},
		},
		{
			"the row of the epoch is another log's", unknown, unknown,
			"not in the table of epochs", func(w *lifeWorld) {
				w.exec(`UPDATE epochs SET epoch = 77`)
			},
		},
		{"the row of the epoch was rewritten", "", "", "", func(w *lifeWorld) {
			w.exec(`BEGIN; CREATE TEMP TABLE e AS SELECT * FROM epochs;
				DELETE FROM epochs; INSERT INTO epochs SELECT * FROM e; COMMIT`)
		}},
		{"the floor is beyond the end", lost, lost, "beyond the end of the sequence", func(w *lifeWorld) {
			w.exec(`UPDATE log_floor SET seq = 5000`)
		}},
		{"the log is rewritten by VACUUM FULL", "", "", "", func(w *lifeWorld) {
			w.exec(`VACUUM FULL events`, `VACUUM FULL epochs`)
		}},
		{"the log alone is copied in from before", lost, lost, failedOver, func(w *lifeWorld) {
			w.exec(`TRUNCATE events`)
			w.restore("--data-only", "--table=events", "--table=events_seq")
		}},
		{
			"replaced row by row, with the numbers used again", lost, "",
			"is not the event that", func(w *lifeWorld) {
				w.exec(
					fmt.Sprintf(
						`UPDATE events SET occurred_at = occurred_at + interval '1 second' WHERE seq > %d`,
						w.seqs[6],
					),
				)
			},
		},
	} {
		for _, when := range []string{"at once", "noticed", "restarted"} {
			down := when == "restarted"
			t.Run(tt.name+"/"+when, func(t *testing.T) {
				if when != "noticed" || tt.name != "restored in place" &&
					tt.name != "rows are missing at the end" {
					dbtest.Long(t)
				}
				t.Parallel()
				w := newLifeWorld(t)
				awake, slept := newLifeNode(t, w.url), newLifeNode(t, w.url)
				awake.wake()
				w.channel, _ = create(t, awake.db, "alice", "bob")
				for i := range postsBefore {
					w.seqs = append(w.seqs, w.post(awake, fmt.Sprint("before-", i)).Seq)
				}
				w.backup()
				if tt.name == "made from a template" {
					awake.close()
					slept.close()
					w.execAt(w.super, `CREATE DATABASE `+w.name+`_copy TEMPLATE `+w.name+` OWNER fabric`)
					awake, slept = newLifeNode(t, w.url), newLifeNode(t, w.url)
					awake.wake()
				}
				for i := range postsBefore {
					w.seqs = append(w.seqs, w.post(awake, fmt.Sprint("lost-", i)).Seq)
				}
				first := events.Cursor{Epoch: awake.router.Position().Epoch, Seq: w.seqs[0]}
				open := newLifeClient(t, "the open stream", awake, &first)
				w.untilAllAreToldSince(1, open)
				cursor := open.position()
				slept.wake()
				sleeping := newLifeClient(t, "the stream of the node that sleeps", slept, &cursor)
				w.until(func() string {
					if slept.router.Position() != awake.router.Position() {
						return "the second node has not read all"
					}
					return ""
				})

				clear(w.acked)
				slept.sleep()
				if down {
					awake.close()
					slept.close()
				}
				tt.do(w)
				if down {
					awake, slept = newLifeNode(t, w.url), newLifeNode(t, w.url)
					awake.wake()
					slept.wake()
					open.moveTo(awake)
					sleeping.moveTo(slept)
				}
				if when == "noticed" {
					w.until(func() string {
						if log := awake.log.String(); !strings.Contains(log, tt.noticed) {
							return fmt.Sprintf("got the log %q, want %q in it", log, tt.noticed)
						}
						return ""
					})
				}
				for i := range postsAfter {
					w.post(awake, fmt.Sprint("after-", i))
				}
				if !down {
					slept.wake()
				}
				back := newLifeClient(t, "who comes back", awake, &cursor)
				w.untilAllAreTold(open, sleeping, back)
				want := map[string]string{"noticed": tt.reset, "restarted": tt.restarted}
				if got := strings.Join(back.reasons(), ", "); when != "at once" && got != want[when] {
					t.Errorf("a reconnecting client: got the resets %q, want %q", got, want[when])
				}
			})
		}
	}
}

func (w *lifeWorld) untilAllAreToldSince(first int, c *lifeClient) {
	w.Helper()
	w.until(func() string {
		for content, at := range w.acked {
			if at.Seq > w.seqs[first-1] && !c.told(content, at) {
				return c.name + " has not heard " + content
			}
		}
		return ""
	})
}

func (c *lifeClient) moveTo(n *lifeNode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node = n
}

// While a restore is running, or if the floor is missing for another reason, nothing is appended, and the
// error says what to do. After that, posts are accepted again.
func TestAnIncompleteRestoreIsUnavailable(t *testing.T) {
	dbtest.Long(t) // TestADatabaseThatRefusesConnectionsIsUnavailable is fast
	t.Parallel()
	for _, tt := range []struct{ name, harm, heal, said string }{
		{
			"the floor", `DELETE FROM log_floor`,
			`INSERT INTO log_floor (seq) SELECT coalesce(min(seq) - 1, 0) FROM events`,
			"INSERT INTO log_floor",
		},
		{
			"a key", `ALTER TABLE messages DROP CONSTRAINT messages_pkey`,
			`ALTER TABLE messages ADD CONSTRAINT messages_pkey PRIMARY KEY (id)`, "finish the restore",
		},
		{
			"members", `ALTER TABLE members RENAME TO old; CREATE TABLE members (LIKE old INCLUDING ALL)`,
			`INSERT INTO members SELECT * FROM old`, "finish the restore",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := dbtest.New(t)
			d, c := openURL(t, url), dbtest.Connect(t, url)
			channel, _ := create(t, d, "alice")
			before := post(t, d, channel, "alice", "before").Cursor
			exec(t, c, tt.harm)
			exec(t, c, `UPDATE epochs SET key = 'of another life'`)
			for what, do := range map[string]func() error{
				"a post": func() error {
					_, err := d.Post(t.Context(), newMessage(channel, "alice", "now"))
					return err
				},
				"a read": func() error {
					_, err := d.Tail(t.Context(), before, 10)
					return err
				},
			} {
				if err := do(); !errors.Is(err, db.ErrUnavailable) ||
					!strings.Contains(err.Error(), tt.said) {
					t.Errorf("%s: got %v, want %v that says %q", what, err, db.ErrUnavailable, tt.said)
				}
			}
			exec(t, c, tt.heal)
			if after := post(t, d, channel, "alice", "after").Cursor; after.Epoch <= before.Epoch ||
				after.Seq <= before.Seq {
				t.Errorf("got %v, want it after %v", after, before)
			}
		})
	}
}

// VACUUM FULL gives the event log another file, and so begins an epoch. It happens between two posts and
// resets no stream.
func TestVacuumFullDuringPostsResetsNobody(t *testing.T) {
	dbtest.Long(t) // TestNoPostIsLostInAnyLifeOfTheDatabase is fast
	t.Parallel()
	w := newLifeWorld(t)
	awake, other := newLifeNode(t, w.url), newLifeNode(t, w.url)
	awake.wake()
	other.wake()
	w.channel, _ = create(t, awake.db, "alice", "bob")
	first := w.post(awake, "first")
	here, there := newLifeClient(t, "here", awake, &first), newLifeClient(t, "there", other, &first)
	listening := []*lifeClient{here, there}
	const rounds, postsEach = 8, 40
	round := make(chan struct{})
	done := make(chan struct{})
	c := dbtest.Connect(t, w.url)
	go func() {
		defer close(done)
		for range round { // during the posts of a round
			if _, err := c.Exec(context.Background(), `VACUUM FULL events`); err != nil {
				t.Error(err)
			}
		}
	}()
	epochs := map[int64]bool{}
	for i := range rounds * postsEach {
		if i%postsEach == 0 {
			round <- struct{}{}
		}
		epochs[w.post([]*lifeNode{awake, other}[i%2], fmt.Sprint("post-", i)).Epoch] = true
	}
	close(round)
	<-done
	if len(epochs) < rounds {
		t.Errorf("got %d epochs, want one after each VACUUM FULL", len(epochs))
	}
	delete(w.acked, "first")
	w.untilAllAreTold(listening...)
	for _, c := range listening {
		if got := c.reasons(); len(got) > 0 {
			t.Errorf("%s: got the resets %q in %d epochs, want none", c.name, got, len(epochs))
		}
	}
}

// A wake list of a lost tail does not decide who is woken, even if a new list has the same version.
func TestWakeListsAreKeptByEpoch(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, c := openURL(t, url), dbtest.Connect(t, url)
	channel, _ := create(t, d, "alice", "carol", "dave")
	exec(t, c, `UPDATE channels SET x_type = 'custom' WHERE id = $1`, channel)
	list := func(user string) {
		t.Helper()
		err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			if err := tx.LockChannel(ctx, channel); err != nil {
				return err
			}
			_, err := tx.SetWakeList(ctx, channel, "alice", []string{user})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	woken := func(at events.Cursor) []string {
		t.Helper()
		page, err := d.Replay(t.Context(), "alice", at.Seq-1, at.Seq)
		if err != nil || len(page.Events) != 1 {
			t.Fatalf("got %v, %v; want one event", page.Events, err)
		}
		tail, err := d.Tail(t.Context(), events.Cursor{Epoch: at.Epoch, Seq: at.Seq - 1}, 1)
		if err != nil || len(tail.Events) != 1 {
			t.Fatalf("got %v, %v; want one event", tail.Events, err)
		}
		got, replayed := tail.Events[0].Message.WakeList, page.Events[0].Message.WakeList
		if !slices.Equal(got, replayed) {
			t.Errorf("the tail has %v, a replay %v", got, replayed)
		}
		return page.Events[0].Message.WakeList
	}
	before := column[int64](t, c, `SELECT pg_sequence_last_value('events_seq')`)[0]
	list("carol")
	lost := post(t, d, channel, "alice", "lost").Cursor
	if got := woken(lost); !slices.Equal(got, []string{"carol"}) {
		t.Fatalf("got %v, want carol", got)
	}
	// An older copy of the database takes over.
	exec(t, c, `DELETE FROM events WHERE seq > $1`, before)
	exec(t, c, `DELETE FROM messages WHERE seq > $1`, before)
	exec(t, c, `DELETE FROM wake_lists`)
	exec(t, c, `UPDATE channels SET wake_version = 0`)
	exec(t, c, `SELECT setval('events_seq', $1)`, before)
	newLife(t, c)
	list("dave")
	now := post(t, d, channel, "alice", "now").Cursor
	if now.Seq != lost.Seq {
		t.Fatalf("got number %d, want %d again", now.Seq, lost.Seq)
	}
	if got := woken(now); !slices.Equal(got, []string{"dave"}) {
		t.Errorf("got %v woken, want dave", got)
	}
}
