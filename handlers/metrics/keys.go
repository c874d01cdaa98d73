package metrics

// keys sends for each key file whether it can be read.
func (c *collector) keys(e emitter) {
	for name, readable := range c.KeyReadable() {
		e.gauge("key_readable",
			"1 if a key file in the state directory can be read. If it is 0, the key that was read "+
				"before stays "+
				"in use, and a restart would fail.",
			boolean(readable), "file", name)
	}
}
