package soaktest

import (
	"slices"
	"sort"

	"github.com/jackc/pgx/v5"
)

// A posted message is a row of the table messages.
type posted struct {
	ID, Channel, Author, Content string
	Seq, First, Upto             int64 // First and Upto: what it answered, or 0
}

// A grave is a row of the table wakes_dead.
type grave struct {
	Agent, Channel, Outcome string
	First, Last             int64
}

// rowsOf returns the rows of a query.
func rowsOf[T any](s *wakeSoak, sql string) []T {
	s.t.Helper()
	rows, err := s.log.Query(s.t.Context(), sql)
	if err != nil {
		s.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// judgeWork compares what is stored with what the agents owed, and with the answers that the workers got.
func (s *wakeSoak) judgeWork() {
	s.t.Helper()
	messages := rowsOf[posted](s, `SELECT id::text, channel_id::text, author_user_id, content, seq,
		coalesce(wake_first, 0), coalesce(wake_upto, 0) FROM messages ORDER BY seq`)
	graves := rowsOf[grave](s, `
		SELECT user_id, channel_id::text, outcome, first_seq, last_seq FROM wakes_dead`)
	asked := map[string][]posted{} // by channel, in order
	for _, m := range messages {
		if m.Author == ann || m.Author == bot {
			asked[m.Channel] = append(asked[m.Channel], m)
		}
	}
	stands := map[string]int{} // by author and text: several agents answer a message with the same text
	answers := map[owed]int{}
	for _, m := range messages {
		if m.Author == ann || m.Author == bot {
			continue
		}
		stands[m.Author+m.Content]++
		if stands[m.Author+m.Content] == 2 {
			s.fault("%q of %s stands twice", m.Content, m.Author)
		}
		covers := between(asked[m.Channel], m.First, m.Upto)
		for _, a := range covers {
			answers[owed{m.Author, a.ID}]++
		}
		sent, known := s.replies[m.Content]
		handed := func(a posted, w wakeMessage) bool { return a.ID == w.ID }
		switch {
		case sent.outcome == refused:
			s.fault("%q was refused and is stored", m.Content)
		case sent.kept == (m.First > 0):
			s.fault("%q ends a wake: %t, want the opposite", m.Content, m.First > 0)
		case known && !sent.kept && !slices.EqualFunc(covers, sent.messages, handed):
			s.fault("%q answers %v, and its worker had %v", m.Content, covers, sent.messages)
		}
	}
	late := 0
	for text, r := range s.replies {
		if r.late {
			late++
		}
		if r.late && (r.outcome == done || stands[r.author+text] > 0) {
			s.fault("%q stands, and another worker had claimed its wake before it was sent", text)
		}
		if r.outcome == done && stands[r.author+text] != 1 {
			s.fault("%q was acknowledged and stands %d times", text, stands[r.author+text])
		}
	}
	dead := map[owed]int{}
	for _, g := range graves {
		for _, a := range between(asked[g.Channel], g.First, g.Last) {
			dead[owed{g.Agent, a.ID}]++
		}
	}
	total, ends, died := 0, 0, 0
	for _, r := range s.rooms {
		for _, m := range asked[r.id] {
			for _, agent := range r.agents {
				key := owed{agent, m.ID}
				acks, acked := s.acked[key]
				total++
				ends += answers[key]
				died += dead[key]
				finished := answers[key] + dead[key]
				if acked && (acks == done || finished == 0) {
					finished++
				}
				switch {
				case finished != 1:
					s.fault("%q of %s for %s has %d answers and %d graves (ack %d), want one of these",
						m.Content, m.Author, agent, answers[key], dead[key], acks)
				case poisoned(m.Content) != (dead[key] == 1):
					s.fault("%q of %s for %s has %d graves", m.Content, m.Author, agent, dead[key])
				}
			}
		}
	}
	s.t.Logf("%d messages owed: %d answered, %d dead, the others acked; %d replies known; "+
		"%d workers crashed, %d requests were refused because others had claimed the wake, "+
		"%d replies came late", total, ends, died, len(s.replies), s.crashes.Load(), s.lost.Load(), late)
	if ends == 0 || died == 0 {
		s.t.Errorf("got %d messages answered and %d dead, want some of both", ends, died)
	}
	for i, f := range s.faults {
		if i == 10 {
			s.t.Errorf("there are %d more differences", len(s.faults)-i)
			break
		}
		s.t.Error(f)
	}
}

// between returns the messages from one number to another. in is in order.
func between(in []posted, first, last int64) []posted {
	from := sort.Search(len(in), func(i int) bool { return in[i].Seq >= first })
	to := sort.Search(len(in), func(i int) bool { return in[i].Seq > last })
	return in[from:to]
}
