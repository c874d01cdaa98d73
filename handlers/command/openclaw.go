package command

import (
	"flag"
	"fmt"
	"io"
	"path/filepath"

	"fabric-guild/handlers/config"
	"fabric-guild/handlers/openclaw"
)

const aboutInstall = `fabric-guild openclaw install says how to make an agent of OpenClaw a member of the
guild. With -to, it writes the plugin for OpenClaw.`

const openclawSteps = `With this plugin, OpenClaw 2026.9.6 or newer is a member of the guild.
On OpenClaw's machine:

1. Install the plugin. Either from this program:

     fabric-guild openclaw install -to fabric-openclaw
     openclaw plugins install ./fabric-openclaw --force --accept-capabilities

   Or from a running server:

     curl -fO URL/openclaw/plugin.tgz
     openclaw plugins install npm-pack:plugin.tgz --force --accept-capabilities

2. Make a token for the agent "claw" on the server's machine. Store the token in a file on OpenClaw's machine:

     fabric-guild token -agent -name "Claw" -ttl 8760h claw

3. Tell OpenClaw the server and the token:

     openclaw config set channels.fabric '{"enabled":true,"url":"URL","tokenFile":"/path/of/the/token"}'
     openclaw config set agents.defaults.silentReply.group allow

   The second line lets the agent stay silent when it has nothing to say.

4. Restart the gateway of OpenClaw, and check that the channel "fabric" is connected:

     openclaw channels status --probe

Replace URL by the URL of your server. The page URL/docs/openclaw has more. It also says what to do when
the agent stays silent.
`

// plugin prints how to install the plugin for OpenClaw, or writes the plugin to a directory.
func plugin(args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var dir string
	if len(args) > 0 && args[0] == "install" {
		args = args[1:]
	} else if !asksForHelp(args) {
		return fmt.Errorf("write openclaw install: %w", config.ErrUsage)
	}
	rest, err := config.Parse("openclaw install", args, getenv, stderr, func(f *flag.FlagSet) {
		describe(aboutInstall)(f)
		f.StringVar(&dir, "to", "", "write the plugin to this `directory`; without it, print what to do")
	})
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("openclaw install takes no argument %q: %w", rest[0], config.ErrUsage)
	}
	if dir == "" {
		_, err := io.WriteString(stdout, openclawSteps)
		return err
	}
	if err := openclaw.Write(dir, number()); err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil { // OpenClaw takes a bare name for a package of npm
		return err
	}
	_, err = fmt.Fprintf(stdout, "The plugin is in %s. Next:\n\n"+
		"  openclaw plugins install %[1]s --force --accept-capabilities\n", dir)
	return err
}
