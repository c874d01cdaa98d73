package metrics

// connections sends the metrics of the clients' connections.
func (c *collector) connections(e emitter) {
	if c.Connections == nil {
		return
	}
	n := c.Connections()
	for state, n := range map[string]int{"busy": n.Open - n.Idle, "idle": n.Idle} {
		e.gauge("connections",
			"Connections of clients, by state: busy (with a request or a stream) or idle.",
			float64(n), "state", state)
	}
	e.gauge("connections_max",
		"Maximum number of connections, according to the limit of open files.",
		float64(n.Max))
	e.counter("connections_evicted_total",
		"Idle connections that were closed to make room for new ones.",
		float64(n.Evicted))
	e.counter("connections_refused_total",
		"Requests that were refused because their address had too many busy connections.",
		float64(n.Refused))
}
