package events

// This file is the only home of the names that the event log, the API, the metrics and the clients share.
// Other code ranges over the lists below. A test in handlers compares them with the console, openapi.json,
// the pages and the database.

import "strings"

// An XType says what a channel is for. It decides who is woken by a message of the channel.
type XType string

// The x-types, each with the members that its messages wake.
const (
	General XType = "general" // everyone, or only those who are mentioned
	Report  XType = "report"  // nobody
	Triage  XType = "triage"  // those on duty
	Custom  XType = "custom"  // those on the wake list
	DM      XType = "dm"      // the other member
	Discuss XType = "discuss" // the member whose turn it is
	Work    XType = "work"    // the member whose turn it is
)

// XTypes lists every XType, in the order in which error texts list them.
var XTypes = []XType{General, Report, Triage, Custom, DM, Discuss, Work}

// TakesTurns reports whether members take turns in channels of this x-type.
func (x XType) TakesTurns() bool { return x == Discuss || x == Work }

// HasWakeList reports whether channels of this x-type have a wake list.
func (x XType) HasWakeList() bool { return x == Triage || x == Custom }

// Bounded reports whether channels of this x-type have the settings humanWakes and agentWakes. In the others,
// each message wakes one member.
func (x XType) Bounded() bool { return x != DM && !x.TakesTurns() }

// A Kind says what an event of the event log reports.
type Kind string

// The kinds of events in the event log.
const (
	ChannelCreated  Kind = "channel.created"
	ChannelUpdated  Kind = "channel.updated"
	ChannelArchived Kind = "channel.archived"
	MemberJoined    Kind = "member.joined"
	MemberLeft      Kind = "member.left"
	MessageCreated  Kind = "message.created"
	MessageUpdated  Kind = "message.updated"
	MessageDeleted  Kind = "message.deleted"
	TurnChanged     Kind = "turn.changed"
	WakeDead        Kind = "wake.dead"
	GuardTripped    Kind = "guard.tripped"
)

// Kinds lists every Kind.
var Kinds = []Kind{
	ChannelCreated, ChannelUpdated, ChannelArchived, MemberJoined, MemberLeft,
	MessageCreated, MessageUpdated, MessageDeleted, TurnChanged, WakeDead, GuardTripped,
}

// Names that only a stream uses. The user who joined or left sees these names; ChannelCreated and
// MemberJoined show as ChannelJoined, MemberLeft shows as ChannelLeft.
const (
	ChannelJoined = "channel.joined"
	ChannelLeft   = "channel.left"
)

// EventNames lists the names under which streams show the events of the event log. It has no stream.* names.
var EventNames = []string{
	ChannelJoined, ChannelLeft, string(MemberJoined), string(MemberLeft),
	string(ChannelUpdated), string(ChannelArchived), string(MessageCreated),
	string(MessageUpdated), string(MessageDeleted), string(TurnChanged), string(WakeDead),
	string(GuardTripped),
}

// The names of signals. A signal is an event that is not in the event log: it has no id, and may be lost.
const (
	Activity    = "activity"     // what a member does now: types, thinks, writes a draft
	WakeState   = "wake.state"   // how the work on messages stands
	ChannelRead = "channel.read" // the user has read a channel, in another tab or on another device
)

// SignalNames lists the names of all signals.
var SignalNames = []string{Activity, WakeState, ChannelRead}

// ActivityIdle is the kind of activity that ends the one before it.
const ActivityIdle = "idle"

// ActivityKinds lists the kinds of activity.
var ActivityKinds = []string{"typing", "thinking", "tool", "draft", ActivityIdle}

// OwnPrefix begins the name of every frame that is about the stream itself.
const OwnPrefix = "stream."

// The frames that are about the stream itself.
const (
	StreamReady     = OwnPrefix + "ready"
	StreamChannels  = OwnPrefix + "channels"
	StreamLive      = OwnPrefix + "live"
	StreamReset     = OwnPrefix + "reset"
	StreamCursor    = OwnPrefix + "cursor"
	StreamHeartbeat = OwnPrefix + "heartbeat"
	StreamClosing   = OwnPrefix + "closing"
)

// StreamNames lists the names of all frames that are about the stream itself.
var StreamNames = []string{
	StreamReady, StreamChannels, StreamLive, StreamReset, StreamCursor, StreamHeartbeat, StreamClosing,
}

// The reasons in stream.closing.
const (
	ClosedDrain        = "drain"         // the server stops
	ClosedRotated      = "rotated"       // the stream reached its maximum age
	ClosedReplaced     = "replaced"      // a newer stream of the same user took its place
	ClosedTokenExpired = "token_expired" // the token's end has come
	ClosedTokenRevoked = "token_revoked" // the token or its session was revoked
	ClosedReset        = "reset"         // the database lost what the stream has shown
	ClosedExpired      = "expired"       // retention removed events that the stream still needed
)

// ClosingReasons lists the reasons in stream.closing.
var ClosingReasons = []string{
	ClosedDrain, ClosedRotated, ClosedReplaced, ClosedTokenExpired, ClosedTokenRevoked, ClosedReset,
	ClosedExpired,
}

// The ways in which a stream ends without a stream.closing. Metrics count them next to the closing reasons.
const (
	EndedDisconnected = "disconnected" // by the client or the network
	EndedStalled      = "stalled"      // the client took no byte within the write timeout
	EndedAnswered     = "answered"     // a poll has its answer
	EndedFlooded      = "flooded"      // the client sent too much on its stream
	EndedLate         = "late"         // a poll did not get through its backlog in time
)

// Endings lists the ways in which a stream ends without a stream.closing.
var Endings = []string{EndedDisconnected, EndedStalled, EndedFlooded, EndedAnswered, EndedLate}

// The reasons in stream.reset: why a cursor cannot be continued.
const (
	ResetExpired      = "expired"       // retention removed events after the cursor
	ResetUnknownEpoch = "unknown_epoch" // the cursor belongs to another database
	ResetLostTail     = "lost_tail"     // the cursor points into a part that a failover lost
	ResetBeyond       = "beyond_end"    // the database never gave out this number
)

// ResetReasons lists the reasons in stream.reset.
var ResetReasons = []string{ResetExpired, ResetUnknownEpoch, ResetLostTail, ResetBeyond}

// A UserKind says what a user is.
type UserKind string

// The kinds of users. A user of whom nothing is known is a Human.
const (
	Human UserKind = "human"
	Agent UserKind = "agent"
)

// UserKinds lists every UserKind.
var UserKinds = []UserKind{Human, Agent}

// An Outcome says what a message means to one of its possible recipients.
type Outcome uint8

// The outcomes. The older two-state rule skips nobody.
const (
	Skip     Outcome = iota // the message is not delivered
	Observer                // the message is delivered, and the recipient must not act on it
	Wake                    // the message is delivered, and the recipient must start its model
)

// Outcomes lists every Outcome. The index of an outcome is its value.
var Outcomes = [...]Outcome{Skip, Observer, Wake}

func (o Outcome) String() string { return [len(Outcomes)]string{"skip", "observer", "wake"}[o] }

// A Reason explains an Outcome. Streams show it as wakeReason.
type Reason uint8

// The reasons. noReason belongs to no message: it is the index of the cached frame that is the same for
// everyone.
const (
	noReason Reason = iota
	Author
	Everyone
	Mention
	NotAddressed
	Silent
	OnDuty
	Admin
	WakeList
	Direct
	Turn
	NotYourTurn
	Notice
	LoopGuard
	reasons // the number of reasons
)

// WakeReasons lists every Reason that a message can have.
var WakeReasons = []Reason{
	Author, Everyone, Mention, NotAddressed, Silent, OnDuty, Admin, WakeList, Direct, Turn, NotYourTurn,
	Notice, LoopGuard,
}

func (r Reason) String() string {
	return [reasons]string{
		"", "author", "everyone", "mention", "not_addressed", "silent", "on_duty", "admin", "wake_list",
		"direct", "turn",
		"not_your_turn", "notice", "loop_guard",
	}[r]
}

// A Bound limits whom a message wakes, below what its channel's x-type allows. It is stored with the message.
type Bound string

// The bounds. A message without a bound wakes everyone whom its x-type wakes.
const (
	NoBound Bound = ""
	// only those who are mentioned stay woken, in triage also those on duty
	BoundMentions Bound = "mentions"
	// the channel's setting lets messages of this kind of author wake nobody
	BoundNone    Bound = "none"
	BoundGuard   Bound = "loop_guard" // too many agents' messages in a row: it wakes nobody
	BoundTripped Bound = "tripped"    // the same, and guard.tripped reports this message: it is the first one
	BoundNotice  Bound = "notice"     // its author wants it to wake nobody
)

// Bounds lists every Bound that a message can store.
var Bounds = []Bound{BoundMentions, BoundNone, BoundGuard, BoundTripped, BoundNotice}

// A Wakes is a channel's setting: what the messages of one kind of author may wake.
type Wakes string

// The values of the settings humanWakes and agentWakes. WakesNone is for agents only.
const (
	WakesAll      Wakes = "all"
	WakesMentions Wakes = "mentions"
	WakesNone     Wakes = "none"
)

// WakesOfHumans and WakesOfAgents list what each setting may be.
var (
	WakesOfHumans = []Wakes{WakesAll, WakesMentions}
	WakesOfAgents = []Wakes{WakesAll, WakesMentions, WakesNone}
)

// The loop guard's limit is the number of agents' messages in a row that may wake. 0 turns the guard off.
const (
	DefaultLoopLimit = 20
	MaxLoopLimit     = 200
)

// DefaultSettings returns the settings with which a channel of an x-type begins. In discuss and work channels
// the loop guard is off: members take turns there on purpose.
func DefaultSettings(x XType) Settings {
	s := Settings{LoopLimit: DefaultLoopLimit, HumanWakes: WakesAll, AgentWakes: WakesAll}
	if x.TakesTurns() {
		s.LoopLimit = 0
	}
	return s
}

// Join returns names as one text, separated by commas, for error texts and descriptions.
func Join[S ~string](names []S) string {
	var text strings.Builder
	for i, name := range names {
		if i > 0 {
			text.WriteString(", ")
		}
		text.WriteString(string(name))
	}
	return text.String()
}
