// Package auth says who a request comes from: tokens signed with a key in the state directory or checked by
// Center, the sessions of browsers, and the operator key. It does not know what a user may do in a channel.
package auth
