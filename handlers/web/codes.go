package web

import "net/http"

// An ErrorCode describes one error code of the API for the authors of clients.
type ErrorCode struct {
	Code   string
	Status int
	Advice string // what the client can do
}

// ErrorCodes lists every error code of the API. A test compares the list with the sources, with openapi.json,
// which repeats the advice, and with docs/api.md.
var ErrorCodes = []ErrorCode{
	{"malformed", http.StatusBadRequest, "`errors` names a field or parameter that is missing, unknown or " +
		"of the wrong form. Or a header that decides something came twice with different values, or the " +
		"path has letters, digits, slashes or - . _ ~ in percent-encoded form"},
	{"cursor_malformed", http.StatusBadRequest, "send an id as it came from the stream, or none"},
	{
		"idempotency_key_malformed", http.StatusBadRequest,
		"a key has 1 to 255 printable ASCII characters without quotation marks and backslashes, bare or " +
			"quoted",
	},
	{"token_in_query", http.StatusBadRequest, "send the token in the Authorization header, and make a new " +
		"one: servers log URLs"},
	{"token_missing", http.StatusUnauthorized, "send Authorization: Bearer TOKEN"},
	{
		"token_invalid", http.StatusUnauthorized,
		"the server does not know this token, or it was revoked: get a new one",
	},
	{"token_expired", http.StatusUnauthorized, "the token's time is over: get a new one"},
	{"operator_only", http.StatusUnauthorized, "send the operator key from the state directory"},
	{"not_member", http.StatusForbidden, "join the channel, or ask a member to add you"},
	{"not_creator", http.StatusForbidden, "only the channel's creator may do this; after the creator has " +
		"left, any member may"},
	{"not_author", http.StatusForbidden, "only the author may do this"},
	{"not_human", http.StatusForbidden, "only a human may send /go: the loop guard stops agents until a " +
		"human looks"},
	{"guild_forbidden", http.StatusForbidden, "the token is for other guilds"},
	{
		"wrong_host", http.StatusMisdirectedRequest,
		"the Host is none of this server's names; the operator can add it with -allow-host",
	},
	{"cross_origin", http.StatusForbidden, "a page of another origin may not do this; the operator can " +
		"allow the origin with -allow-origin"},
	{"not_found", http.StatusNotFound, "there is nothing at this path: openapi.json has all paths"},
	{"channel_not_found", http.StatusNotFound, "the channel does not exist, or is hidden from you"},
	{"message_not_found", http.StatusNotFound, "the message does not exist, or is hidden from you"},
	{"method_not_allowed", http.StatusMethodNotAllowed, "use a method from the Allow header"},
	{"channel_archived", http.StatusConflict, "nobody can post in an archived channel or change it"},
	{"message_deleted", http.StatusConflict, "nobody can change a deleted message"},
	{
		"conversation_moved", http.StatusConflict,
		"others have posted since the message in `ifLast`. `messages` has the newest 20, newest first. " +
			"Read them, and decide again",
	},
	{
		"idempotency_in_flight", http.StatusConflict,
		"the first request with this key is still in progress: wait, and repeat this request",
	},
	{"body_too_large", http.StatusRequestEntityTooLarge, "send at most 64 KiB"},
	{"unsupported_media_type", http.StatusUnsupportedMediaType, "send application/json"},
	{"invalid", http.StatusUnprocessableEntity, "the request is well-formed, but refused: `errors` says why"},
	{"content_too_long", http.StatusUnprocessableEntity, "send at most 16 KiB"},
	{
		"command_invalid", http.StatusUnprocessableEntity,
		"/help lists the commands. Write two slashes to begin a message with a slash",
	},
	{"dm_fixed", http.StatusUnprocessableEntity, "a dm keeps its two members and has no name"},
	{"no_turns", http.StatusUnprocessableEntity, "only discuss and work channels have turns"},
	{"no_wake_list", http.StatusUnprocessableEntity, "only triage and custom channels have a wake list"},
	{
		"idempotency_key_reused", http.StatusUnprocessableEntity,
		"the key stands for another request: take a new key",
	},
	{
		"too_many_memberships", http.StatusUnprocessableEntity,
		"a user can be in 5,000 channels at once. The user that `detail` names must leave one first",
	},
	{
		"too_many_streams", http.StatusTooManyRequests,
		"close one of your streams, or come back after Retry-After: a user has 16 streams on a server, and " +
			"a new one replaces one that is older than 5 minutes",
	},
	{
		"too_many_connections", http.StatusTooManyRequests,
		"connections from your address without a stream are busy, a quarter of all that the server takes. " +
			"Use fewer at a time, and try again after Retry-After",
	},
	{
		"too_many_sign_ins", http.StatusTooManyRequests,
		"too many tokens came from your address that Center does not know, or too many new ones at once " +
			"(32). Try again after Retry-After",
	},
	{
		"too_many_requests", http.StatusTooManyRequests,
		"the user has 4 reads, 64 changes or 32 polls in progress, and others have waited for 5 s; or the " +
			"user's reads and snapshots take more than a quarter of a processor, waits not counted. A " +
			"request is in progress until its answer is taken. Take the answers, and try again after " +
			"Retry-After",
	},
	{
		"too_many_joins", http.StatusTooManyRequests,
		"a user can join the same channel 100 times within 24 hours. Retry-After says when the next join " +
			"is possible",
	},
	{
		"rate_limited", http.StatusTooManyRequests,
		"slow down, and try again after Retry-After. A user may read 200 times per second, and 2,000 times " +
			"at once; opening a stream and each poll count. RateLimit-Policy has the limit for changes, " +
			"which is the server's setting",
	},
	{
		"internal", http.StatusInternalServerError,
		"the server has a fault. The request id finds it in the server's log",
	},
	{
		"unavailable", http.StatusServiceUnavailable,
		"the database cannot be reached. A change may have been made: look before you repeat it",
	},
	{"center_unavailable", http.StatusServiceUnavailable, "Center cannot say whose token this is: try again"},
	{
		"shutting_down", http.StatusServiceUnavailable,
		"this server is stopping: try another one, or try again soon",
	},
	{
		"server_full", http.StatusServiceUnavailable,
		"this server has no room for another stream or claim: try another server, or try again after " +
			"Retry-After",
	},
	{"draining", http.StatusServiceUnavailable, "of /readyz: this server is about to stop"},
	{"database_unavailable", http.StatusServiceUnavailable, "of /readyz: Postgres does not answer"},
	{
		"changes_refused", http.StatusServiceUnavailable,
		"of /readyz: Postgres answers but takes no changes: it is read-only, its disk is full, or commits " +
			"hang. detail says what to do",
	},
	{"log_stale", http.StatusServiceUnavailable, "of /readyz: the event log has not been read for a while, " +
		"and streams are paused until a read succeeds"},
	{
		"horizon_held", http.StatusServiceUnavailable,
		"of /readyz: a transaction in Postgres holds the event log back: end it",
	},
	{"set_by_authority", http.StatusConflict, "your token or Center says what your kind or display name " +
		"is, so only a newer token or Center can change it"},
	{"wake_lost", http.StatusConflict, "the wake has ended, or somebody else has claimed it: drop the work"},
	{"lease_limit", http.StatusConflict, "a wake is leased for an hour at most. A final reply still counts " +
		"until somebody else claims the wake"},
	{"nothing_to_stop", http.StatusConflict, "nobody works for this user in this channel"},
	{"wake_not_found", http.StatusNotFound, "no wake of yours has this id: GET /api/wakes " +
		"lists them"},
	{"too_many_claims", http.StatusTooManyRequests, "64 claims of the user wait on this server: " +
		"let fewer wait"},
}
