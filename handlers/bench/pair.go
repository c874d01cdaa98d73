package bench

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// A pair is an agent, and a person who posts what wakes it. The two are members of a channel. Persons have no
// queue: the server counts a user with a queue as an agent, and a long talk among agents wakes nobody.
type pair struct {
	b             *run
	agent, person string // tokens
	channel       string
}

// pair returns the i-th pair, with a new channel and with the agent's queue. Agents are the users of the
// first half.
func (b *run) pair(ctx context.Context, i int) (p pair, err error) {
	p = pair{b: b, agent: b.tokens[i], person: b.tokens[i+b.Streams/2]}
	if p.channel, err = b.workChannel(ctx, p.person, benchUser(i)); err != nil {
		return p, err
	}
	_, err = p.claim(ctx, 0)
	return p, err
}

// workChannel makes a channel in which each message of its creator wakes only the agent. It is archived at
// the end of the run.
func (b *run) workChannel(ctx context.Context, creator, agent string) (id string, err error) {
	var made struct{ Channel struct{ ID string } }
	err = b.target.call(ctx, creator, http.MethodPost, "/api/channels", map[string]any{
		"guildId": benchGuild, "name": "work of " + agent, "xType": "custom",
		"memberUserIds": []string{agent}, "wakeUserIds": []string{agent},
	}, &made)
	if err == nil {
		b.mu.Lock()
		b.made = append(b.made, owned{made.Channel.ID, creator})
		b.mu.Unlock()
	}
	return made.Channel.ID, err
}

func (p pair) post(ctx context.Context) error {
	return p.b.target.post(ctx, p.person, p.channel, contentOf(time.Since(epoch)))
}

// claim claims a wake; "": nothing became due in time.
func (p pair) claim(ctx context.Context, wait time.Duration) (id string, err error) {
	var answer struct{ Wake *struct{ ID string } }
	body := map[string]any{"waitSeconds": int(wait.Seconds())}
	err = p.b.target.call(ctx, p.agent, http.MethodPost, "/api/wakes/claim", body, &answer)
	if err != nil || answer.Wake == nil {
		return "", err
	}
	return answer.Wake.ID, nil
}

// reply ends a wake with a message.
func (p pair) reply(ctx context.Context, wake string) error {
	body := map[string]any{"content": answerText, "wakeId": wake}
	return p.b.target.call(ctx, p.agent, http.MethodPost, "/api/channels/"+p.channel+"/messages", body, nil)
}

// answerText has the size of the messages of a run, but streams do not count it.
var answerText = strings.Repeat("x", contentSize)

// claimWait is how long a claim waits. It is less than the timeout of the HTTP client.
const claimWait = 25 * time.Second

var errNoWake = errors.New("a message was posted, and its wake was not handed out")

// next claims the wake of a message that is posted.
func (p pair) next(ctx context.Context) (id string, err error) {
	id, err = p.claim(ctx, claimWait)
	if err == nil && id == "" {
		err = errNoWake
	}
	return id, err
}
