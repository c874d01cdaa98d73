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

func PathOf(channel string) string { return "/api/channels/" + channel + "/messages" }

// Program is the path of one that tests can do without, and CI installs.
func Program(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed; Debian: apt-get install --no-install-recommends %s", name, debian)
	}
	return path
}

// Fetch fetches a page without following redirects. headers are names and values by turns.
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

// Twice sends a request two times, and wants the second to be answered as the first, marked as a replay.
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
