package fairtest

import (
	"context"
	"net/http"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// crowd adds members to mallory's channel.
func (s *scene) crowd(members int) {
	s.Helper()
	s.Channel = s.create(mallory, map[string]any{"memberUserIds": names(members)})
}

// exec changes the database directly. With requests, such changes would take minutes.
func (s *scene) exec(sql string, args ...any) {
	s.Helper()
	if _, err := dbtest.Connect(s, s.url).Exec(s.Context(), sql, args...); err != nil {
		s.Fatal(err)
	}
}

// pastMemberships makes this number of past memberships of mallory in her channel, as if she had joined and
// left while one of her streams was open. The rate limit would allow one such change every 20 ms. In the end
// she is a member.
func (s *scene) pastMemberships(n int) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	conn, err := s.begin(ctx, http.MethodGet, "/api/stream", s.Tokens[mallory])
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	// The rows are above the last assigned number, so nobody reads them until that number moves.
	const leave = `
		UPDATE members SET left_seq = pg_sequence_last_value('events_seq'::regclass) + 1
		WHERE channel_id = $1 AND user_id = $2 AND left_seq IS NULL`
	const fill = `
		WITH last AS (
			SELECT pg_sequence_last_value('events_seq'::regclass) AS seq
		), e AS (
			INSERT INTO events (seq, kind, channel_id, user_id)
			SELECT last.seq + i, CASE WHEN i % 2 = 1 THEN 'member.left' ELSE 'member.joined' END, $1, $2
			FROM last, generate_series(1, 2 * $3::bigint) AS i
		)
		INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at, left_seq)
		SELECT $1, $2, last.seq + 2 * i, 0, now(), CASE WHEN i < $3 THEN last.seq + 2 * i + 1 END
		FROM last, generate_series(1, $3::bigint) AS i`
	s.exec(leave, s.Channel, mallory)
	s.exec(fill, s.Channel, mallory, n)
	s.exec(`SELECT setval('events_seq', (SELECT max(seq) FROM events))`)
	s.exec(`ANALYZE channels, members, events`)
}

// pile gives the target the largest number of memberships that the limit allows, if there is a limit.
func (s *scene) pile() {
	s.Helper()
	const limit, unlimited, few = 5000, 100_000, 200
	if !*full {
		s.memberships(few)
		return
	}
	s.memberships(limit)
	members := []string{"target"}
	body := map[string]any{"guildId": "g1", "name": "one more", "xType": "general", "memberUserIds": members}
	url := s.Base + "/api/channels"
	status, err := guildtest.Call(s.Context(), http.MethodPost, url, s.Tokens[mallory], body, nil)
	if err != nil {
		s.Fatal(err)
	}
	s.Logf("one membership more than %d: got %d", limit, status)
	if status == http.StatusCreated {
		s.memberships(unlimited - limit)
	}
}

func (s *scene) memberships(n int) {
	s.Helper()
	const fill = `
		WITH c AS (
			INSERT INTO channels (id, guild_id, name, x_type, private, history, created_by, member_count)
			SELECT gen_random_uuid(), 'g1', repeat('n', 100), 'general', true, 'joined', $1, 1
			FROM generate_series(1, $2::bigint)
			RETURNING id
		)
		INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at)
		SELECT c.id, $1, (SELECT max(seq) FROM events), 0, now() FROM c`
	s.exec(fill, "target", n)
	s.exec(`ANALYZE channels, members, events`)
}

// publicChannels makes channels that mallory could join.
func (s *scene) publicChannels(n int) {
	s.Helper()
	const fill = `
		INSERT INTO channels (id, guild_id, name, x_type, private, history, created_by, member_count)
		SELECT gen_random_uuid(), 'g1', repeat('n', 100), 'general', false, 'joined', 'nobody', 0
		FROM generate_series(1, $1::bigint)`
	s.exec(fill, n)
	s.exec(`ANALYZE channels, members, events`)
}
