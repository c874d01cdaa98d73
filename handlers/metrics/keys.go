package metrics

func (c *collector) keys(e emitter) {
	for name, readable := range c.KeyReadable() {
		e.gauge("key_readable", "Whether a key file in the state directory can be read (1). If not (0), the key that was read before stays in use, and a restart would fail.", boolean(readable), "file", name)
	}
}
