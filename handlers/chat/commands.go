package chat

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Command is what a text asks for: to post a message, to move the turn, to stop a worker, to let agents go
// on, or to list the commands. Exactly one of Content, Action, Stop, Go and Help is set. For an empty text
// none is set.
type Command struct {
	Content string // the content of the message to post
	Action  Action // how to move the turn
	UserID  string // the user of Give or Stop; Parse does not check that the user is a member
	Stop    bool   // ask UserID's worker in the channel to stop
	Go      bool   // let agents' messages wake again
	Help    bool   // answer with Help()
}

// commands lists all commands, in the order in which help and errors show them.
var commands = [...]struct{ name, takes, does string }{
	{"pass", "", "pass the turn on to the next member"},
	{"turn", " @USER", "give the turn to a member: a mention, or the id with or without @"},
	{"pause", "", "stop the turns: messages wake nobody, and the turn stays where it is"},
	{"resume", "", "let the turns go on"},
	{"stop", " @USER", "ask a user's worker in this channel to stop"},
	{"go", "", "let agents' messages wake again, after the loop guard stopped them"},
	{"me", " TEXT", "say what you do"},
	{"help", "", "list the commands"},
}

// Parse returns what a text asks for. A text is a command if it begins with a slash and a letter. The name of
// the command ends before the first white space, and names are lower-case. Any other text is posted
// unchanged: an empty text, a slash alone, "/ text", "/1", or white space before a slash. If a text begins
// with two slashes, Parse drops the first slash, and the rest is posted, whatever it is.
//
// "/me TEXT" is posted unchanged, as an ordinary message. A client shows a content that begins with /me and
// white space as an action of its author. In a client that does not do so, people still understand the
// content. The escaped "//me TEXT" is stored as "/me TEXT", so clients show both in the same way.
//
// The caller must rewrite mentions by name before: Parse refuses "/turn <@user.name:NAME>" as unresolved.
// Every error is one that the author of the text can correct. Its text says how, continues a sentence that
// begins with the name of the field, and repeats nothing of the author's text.
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
			return Command{}, errors.New("has no text after /me; write /me TEXT")
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
	case "go":
		c.Go = true
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
		return Command{}, errors.New("has text after /" + name + ", which takes no argument")
	}
	return c, nil
}

// Help returns one line for each command. Every line ends in a newline, including the last.
func Help() string {
	var b strings.Builder
	for _, c := range commands {
		b.WriteString("/" + c.name + c.takes + ": " + c.does + "\n")
	}
	return b.String()
}

// parseUser returns the id in "<@ID>", "@ID" or "ID", the argument of a command. An id may itself begin with
// an @: the id in "@@ID" is "@ID".
func parseUser(command, argument string) (string, error) {
	id := strings.TrimPrefix(argument, "@")
	if before, inner, after, found := cutMention(argument); found && before == "" && after == "" {
		if _, isName := mentionedName(inner); isName {
			return "", errors.New("names a user whose name could not be resolved")
		}
		id, _ = mentionedID(inner)
	}
	if !ValidID(id) {
		return "", errors.New("must name one user: /" + command + " <@ID>, /" + command + " @ID or /" +
			command + " ID")
	}
	return id, nil
}

func errUnknown() error {
	all := make([]string, len(commands))
	for i, c := range commands {
		all[i] = "/" + c.name + c.takes
	}
	return errors.New("is not a command. The commands are " + strings.Join(all, ", ") +
		". To post a message that begins with a slash, write two slashes")
}
