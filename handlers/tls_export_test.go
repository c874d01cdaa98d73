package handlers

import "crypto/tls"

// Shown is what the server shows a client.
func Shown(c *Certificate) (*tls.Certificate, error) { return c.config().GetCertificate(nil) }
