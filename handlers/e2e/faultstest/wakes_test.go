package faultstest

import (
	"net/http"
	"testing"

	"fabric-guild/handlers/e2e/guildtest"
)

// Errands are a writer and an agent with a queue. The agent is woken by every message of the writer.
type errands struct {
	t              *testing.T
	n              *guildtest.Node
	writer, worker string // tokens
	channel        string
}

type body map[string]any

func newErrands(t *testing.T, n *guildtest.Node) *errands {
	t.Helper()
	e := &errands{t: t, n: n, writer: n.Token("writer"), worker: n.Token("worker")}
	var made struct{ Channel struct{ ID string } }
	e.call("POST", "/api/channels", e.writer, body{
		"guildId": "g1", "name": "errands", "xType": "general", "memberUserIds": []string{"worker"},
	}, &made, http.StatusCreated)
	e.channel = made.Channel.ID
	e.call("POST", "/api/wakes/claim", e.worker, body{}, nil, http.StatusOK)
	return e
}

// call repeats a request until the server answers with a status. Nothing here has to happen once only.
func (e *errands) call(method, path, token string, content, answer any, want int) {
	e.t.Helper()
	guildtest.Eventually(e.t, method+" "+path+" is answered", guildtest.Patience, func() bool {
		status, err := guildtest.Call(e.t.Context(), method, e.n.Base()+path, token, content, answer)
		return err == nil && status == want
	})
}

// run posts messages, and checks that the queue hands out each of them.
func (e *errands) run(messages int) {
	e.t.Helper()
	owed := map[string]bool{}
	for range messages {
		var posted struct{ Message struct{ ID string } }
		e.call("POST", "/api/channels/"+e.channel+"/messages", e.writer, body{"content": "go"}, &posted,
			http.StatusCreated)
		owed[posted.Message.ID] = true
	}
	guildtest.Eventually(e.t, "the queue hands out all messages", guildtest.Patience, func() bool {
		var a struct {
			Wake *struct {
				ID       string
				Messages []struct{ ID string }
			}
		}
		e.call("POST", "/api/wakes/claim", e.worker, body{"waitSeconds": 1}, &a, http.StatusOK)
		if a.Wake == nil {
			return len(owed) == 0
		}
		for _, m := range a.Wake.Messages {
			delete(owed, m.ID)
		}
		e.call("POST", "/api/wakes/"+a.Wake.ID+"/ack", e.worker, body{}, nil, http.StatusNoContent)
		return len(owed) == 0
	})
}
