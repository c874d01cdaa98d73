package chat

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Command is what a text asks for: to be posted, to move the turn, or to be told the commands. One of
// Content, Action, Stop and Help is set, and none for an empty text.
type Command struct {
	Content string // what the message is to hold
	Action  Action // what is to become of the turn
	UserID  string // whom Give gives it to; whether they are a member is not known here
	Stop    bool   // ask UserID's worker in the channel to stop
	Help    bool   // the answer is Help()
}

// commands are all that exist, in the order in which they are told.
var commands = [...]struct{ name, takes, does string }{
	{"pass", "", "pass the turn on to the next member"},
	{"turn", " @USER", "give the turn to a member: a mention, or the id with or without @"},
	{"pause", "", "stop the turns: messages wake nobody, and the turn stays where it is"},
	{"resume", "", "let the turns go on"},
	{"stop", " @USER", "ask a user's worker in this channel to stop"},
	{"me", " TEXT", "say what you do"},
	{"help", "", "list the commands"},
}

// Parse tells what a text asks for. A command is a slash and a letter at the very first byte, and its name
// goes up to the first white space; names are lower-case. All else is to be posted as it is: an empty text, a
// lone slash, "/ text", "/1", white space and then a slash. Of two slashes the first is dropped and the rest
// is posted, whatever it is.
//
// "/me TEXT" is posted as it was written: a reader shows a content that begins with /me and white space as an
// action of its author, and one who does not know that still understands it. It is a message in all
// respects. The escaped "//me TEXT" is stored alike and so is shown alike.
//
// Mentions by name are rewritten before: "/turn <@user.name:NAME>" is refused here as unresolved. An error
// is the writer's to mend. It says how, reads on behind the name of the field, and repeats nothing of the
// text.
func Parse(text string) (Command, error) {
	if strings.HasPrefix(text, "//") {
		return Command{Content: text[1:]}, nil
	}
	name, isCommand := strings.CutPrefix(text, "/")
	if first, _ := utf8.DecodeRuneInString(name); !isCommand || !unicode.IsLetter(first) {
		return Command{Content: text}, nil
	}
	var argument string
	if end := strings.IndexFunc(name, unicode.IsSpace); end >= 0 {
		name, argument = name[:end], strings.TrimSpace(name[end:])
	}
	var c Command
	switch name {
	case "me":
		if argument == "" {
			return Command{}, errors.New("is to say what you do: /me TEXT")
		}
		return Command{Content: text}, nil
	case "turn":
		c.Action = Give
	case "stop":
		c.Stop = true
	case "pass":
		c.Action = Pass
	case "pause":
		c.Action = Pause
	case "resume":
		c.Action = Resume
	case "help":
		c.Help = true
	default:
		return Command{}, errUnknown()
	}
	if c.Stop || c.Action == Give {
		id, err := parseUser(name, argument)
		if err != nil {
			return Command{}, err
		}
		c.UserID = id
		return c, nil
	}
	if argument != "" {
		return Command{}, errors.New("has something behind /" + name + ", which takes no argument")
	}
	return c, nil
}

// Help returns a line for each command, the last one too ending in a newline.
func Help() string {
	var b strings.Builder
	for _, c := range commands {
		b.WriteString("/" + c.name + c.takes + ": " + c.does + "\n")
	}
	return b.String()
}

// parseUser reads "<@ID>", "@ID" or "ID" behind a command. An id may itself begin with an @: that of "@@ID" is "@ID".
func parseUser(command, argument string) (string, error) {
	id := strings.TrimPrefix(argument, "@")
	if before, inner, after, found := cutMention(argument); found && before == "" && after == "" {
		if _, isName := mentionedName(inner); isName {
			return "", errors.New("names a user whose name could not be resolved")
		}
		id, _ = mentionedID(inner)
	}
	if !ValidID(id) {
		return "", errors.New("must name one user: /" + command + " <@ID>, /" + command + " @ID or /" + command + " ID")
	}
	return id, nil
}

func errUnknown() error {
	all := make([]string, len(commands))
	for i, c := range commands {
		all[i] = "/" + c.name + c.takes
	}
	return errors.New("is no command; there are " + strings.Join(all, ", ") + "; a message that is to begin with a slash is sent with two")
}
