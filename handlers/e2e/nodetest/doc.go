// Package nodetest runs servers inside the test, with users who send requests and read streams. It checks
// every answer and every event against openapi.json. To run the program as a process, use package guildtest.
//
//	n := nodetest.Start(t, nodetest.Setup{})
//	alice, bob := n.User("alice"), n.User("bob")
//	ops := alice.General(t, "ops", "bob").Channel.ID
//	stream, _ := bob.Fresh(t, nodetest.Raw, "")
//	posted := alice.Post(t, ops, "hi")
//	frames := stream.Until(t, posted.Cursor)
package nodetest
