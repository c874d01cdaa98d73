package command

import (
	"flag"
	"fmt"
	"io"
	"time"

	"fabric-guild/db/pgrun"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/config"
)

const aboutToken = `fabric-guild token prints a token for each user. The users need no registration.`

// token prints a token for each user that args name.
func token(args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var (
		dir    string
		ttl    time.Duration
		guilds []string
		rotate bool
		agent  bool
		says   auth.Claim
	)
	users, err := config.Parse("token", args, getenv, stderr, state(&dir, getenv), func(f *flag.FlagSet) {
		describe(aboutToken)(f)
		f.DurationVar(&ttl, "ttl", 24*time.Hour, "how long the tokens are valid")
		f.Func("guild", "a `guild` that the tokens are for; repeatable (default: all guilds)",
			func(g string) error {
				guilds = append(guilds, g)
				return nil
			})
		f.BoolVar(&agent, "agent", false, "the tokens say that the users are agents; without this flag, "+
			"they do not say what the users are")
		f.StringVar(&says.Name, "name", "", "the display `name` of the user; for one user at a time")
		f.BoolVar(&rotate, "rotate", false, "make a new key first: all older tokens end within a minute")
	})
	if err != nil {
		return err
	}
	if len(users) == 0 && !rotate {
		return fmt.Errorf("token needs the id of a user: %w", config.ErrUsage)
	}
	if says.Name != "" && len(users) > 1 {
		return fmt.Errorf("-name is for one user at a time: %w", config.ErrUsage)
	}
	if agent {
		says.Kind = events.Agent
	}
	if ttl < time.Second { // a token names its end in whole seconds
		return fmt.Errorf("-ttl must be 1s or more: %w", config.ErrUsage)
	}
	if err := noFlags(users); err != nil {
		return err
	}
	tokens, err := openTokens(dir)
	if err != nil {
		return err
	}
	if tokens.Fresh() {
		_, _ = fmt.Fprintf(stderr, "There was no key in %s, so this command made one. "+
			"Only a server with this -state accepts the tokens.\n", dir)
	}
	if rotate {
		if err := tokens.Rotate(); err != nil {
			return err
		}
	}
	for _, user := range users {
		t, err := tokens.SignClaim(user, guilds, ttl, says)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(stdout, t); err != nil {
			return err
		}
	}
	return nil
}

func openTokens(state string) (*auth.Tokens, error) {
	// The private Postgres may run as another user, who must be able to pass through the directory.
	if err := pgrun.MakeDirs(state, 0o711); err != nil {
		return nil, fmt.Errorf("the state directory (choose another with -state): %w", err)
	}
	return auth.OpenTokens(state)
}
