// Package fairtest measures what one user can do to another. In each test one user does the worst that the
// limits allow, beside a second user who posts and listens.
package fairtest
