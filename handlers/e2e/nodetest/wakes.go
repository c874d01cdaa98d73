package nodetest

import (
	"maps"
	"sync"
	"testing"
)

// Done sends a request whose answer has no content.
func (u *User) Done(t testing.TB, method, path string, b Body) {
	t.Helper()
	var content any
	if b != nil {
		content = b
	}
	if a, err := u.Do(method, path, content); err != nil || a.Status != 204 {
		t.Fatalf("%s: %s %s: got %v and error %v, want status 204", u.ID, method, path, a, err)
	}
}

type queuedWake struct {
	ID         string  `json:"id"`
	ChannelID  string  `json:"channelId"`
	Reason     string  `json:"reason"`
	Attempts   int     `json:"attempts"`
	At         string  `json:"at"`
	LeaseUntil *string `json:"leaseUntil"`
	NotBefore  *string `json:"notBefore"`
	Worker     *string `json:"worker"`
	Status     *string `json:"status"`
	Outcome    *string `json:"outcome"`
	Note       *string `json:"note"`
	Error      *string `json:"error"`
}

type queue struct {
	Pending []queuedWake `json:"pending"`
	Claimed []queuedWake `json:"claimed"`
	Dead    []queuedWake `json:"dead"`
	Behind  bool         `json:"behind"`
	Next    *string      `json:"next"`
}

// Queue returns the user's own list of wakes.
func (u *User) Queue(t testing.TB) queue {
	t.Helper()
	return u.QueuePage(t, "")
}

// QueuePage returns a page of the user's own list of wakes.
func (u *User) QueuePage(t testing.TB, query string) queue {
	t.Helper()
	return Call[queue](t, u, 200, "GET", "/api/wakes"+query, nil)
}

// A Decided is a message in a wake.
type Decided = FullMessage

// A Wake is work that a claim got.
type Wake struct {
	ID         string    `json:"id"`
	GuildID    string    `json:"guildId"`
	ChannelID  string    `json:"channelId"`
	Name       string    `json:"name"`
	XType      string    `json:"xType"`
	Reason     string    `json:"reason"`
	Attempt    int       `json:"attempt"`
	LeaseUntil string    `json:"leaseUntil"`
	LeaseMS    int       `json:"leaseMs"`
	More       bool      `json:"more"`
	Last       *string   `json:"last"`
	Messages   []Decided `json:"messages"`
	Context    []Decided `json:"context"`
}

// Texts returns the contents of messages.
func Texts(all []Decided) (out []string) {
	for _, m := range all {
		out = append(out, m.Content)
	}
	return out
}

type claimed struct {
	Wake *Wake `json:"wake"`
}

// LongLease is the longest lease of a claim, in seconds.
const LongLease = 600

// Claim sends a claim. Its lease is the longest unless b says otherwise: on a busy machine a test may take
// minutes, and the work may not go back to the queue meanwhile. It returns nil if there is no work.
func (u *User) Claim(t testing.TB, b Body) *Wake {
	t.Helper()
	if b["leaseSeconds"] == nil {
		b["leaseSeconds"] = LongLease
	}
	return Call[claimed](t, u, 200, "POST", "/api/wakes/claim", b).Wake
}

// ClaimAtOnce sends a number of claims that wait. got receives what each of them gets, nil for no work. wait
// blocks until all are answered.
func (u *User) ClaimAtOnce(t testing.TB, claims int) (got <-chan *Wake, wait func()) {
	t.Helper()
	all := make(chan *Wake, claims)
	var waiting sync.WaitGroup
	for range claims {
		waiting.Go(func() {
			a, err := Ask[claimed](u, 200, "POST", "/api/wakes/claim",
				Body{"waitSeconds": 60, "leaseSeconds": LongLease})
			if err != nil {
				t.Error(err)
			}
			all <- a.Wake
		})
	}
	return all, waiting.Wait
}

// Wake sends claims until one gets work, and waits: a post is answered before the server has read it.
func (u *User) Wake(t testing.TB, b Body) *Wake {
	t.Helper()
	if b["waitSeconds"] == nil {
		b["waitSeconds"] = 60
	}
	for range 3 {
		w := u.Claim(t, b)
		if w != nil {
			return w
		}
	}
	t.Fatal("got no wake, want one")
	return nil
}

// A KeptWake is a wake in the answer to a reply that keeps it.
type KeptWake struct {
	LeaseUntil string   `json:"leaseUntil"`
	LeaseMS    int      `json:"leaseMs"`
	Newer      int      `json:"newer"`
	Gone       []string `json:"gone"`
	Stop       bool     `json:"stop"`
}

type replied struct {
	Posted
	Wake *KeptWake `json:"wake"`
}

// Reply posts a reply that ends the wake. more has further fields of the body.
func (u *User) Reply(t testing.TB, w *Wake, text string, more Body) replied {
	t.Helper()
	b := Body{"content": text, "wakeId": w.ID}
	maps.Copy(b, more)
	return Call[replied](t, u, 201, "POST", "/api/channels/"+w.ChannelID+"/messages", b)
}
