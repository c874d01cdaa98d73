package nodetest

import (
	"net/http"
	"os/exec"
	"testing"
)

// Does sends an activity.
func (u *User) Does(t testing.TB, channel string, b Body) {
	t.Helper()
	Call[struct{ Until string }](t, u, http.StatusAccepted, "POST", "/api/channels/"+channel+"/activity", b)
}

// PathOf returns the path of the messages of a channel.
func PathOf(channel string) string { return "/api/channels/" + channel + "/messages" }

// Program returns the path of a program. If the program is not installed, the test is skipped. CI installs
// it.
func Program(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed; Debian: apt-get install --no-install-recommends %s", name, debian)
	}
	return path
}

// Fetch gets a page without following redirects. headers has alternating names and values.
func Fetch(t *testing.T, method, url string, headers ...string) Answer {
	t.Helper()
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	n := &Node{T: t, URL: url, Client: &http.Client{CheckRedirect: stay}}
	a, err := (&User{Node: n}).Do(method, "", nil, headers...)
	if err != nil {
		t.Fatal(err)
	}
	n.Client.CloseIdleConnections()
	return a
}

// Twice sends a request with a key, and repeats it with each key of again, or with the same key. Each
// repetition must get the first answer, marked as replayed.
func (u *User) Twice(t *testing.T, path, key string, b any, again ...string) Answer {
	t.Helper()
	if len(again) == 0 {
		again = []string{key}
	}
	first, err := u.Do("POST", path, b, "Idempotency-Key", key)
	if err != nil || first.Status/100 != 2 || first.Header.Get("Idempotency-Replayed") != "" {
		t.Fatalf("%s: got %v, %v and error %v, want it done", path, first, first.Header, err)
	}
	for _, key := range again {
		second, err := u.Do("POST", path, b, "Idempotency-Key", key)
		if err != nil || second.String() != first.String() ||
			second.Header.Get("Idempotency-Replayed") != "true" ||
			second.Header.Get("Content-Type") != first.Header.Get("Content-Type") {
			t.Errorf("%s, key %s: got %v, %v and error %v, want a replay of %v", path, key, second,
				second.Header, err, first)
		}
	}
	return first
}
