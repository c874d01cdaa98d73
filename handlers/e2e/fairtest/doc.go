// Package fairtest measures how much one user can disturb another. In each test one user attacks as hard as
// the limits allow, while a second user posts and listens.
package fairtest
