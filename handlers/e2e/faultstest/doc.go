// Package faultstest has one test for each fault of a deployment. Each test runs the program under load,
// causes the fault, and compares the messages of every stream with the acknowledged posts.
package faultstest
