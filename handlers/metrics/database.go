package metrics

// database sends the metrics of the pools, the doorbell, retention and idempotency keys.
func (c *collector) database(e emitter) {
	for name, p := range c.DB.Pools() {
		states := map[string]int{"acquired": p.Acquired, "idle": p.Idle, "constructing": p.Constructing}
		for state, n := range states {
			e.gauge("db_pool_connections",
				"Connections of a pool, by state.",
				float64(n), "pool", name, "state", state)
		}
		e.gauge("db_pool_connections_max",
			"Maximum number of connections of a pool.",
			float64(p.Max), "pool", name)
		e.counter("db_pool_waits_total",
			"How often no connection was idle, so that a caller waited for one or opened one.",
			float64(p.Waits), "pool", name)
		e.counter("db_pool_wait_seconds_total",
			"Time that callers spent waiting for a connection or opening one.",
			p.Waited.Seconds(), "pool", name)
		e.counter("db_pool_gave_up_total",
			"How often a caller gave up before it got a connection.",
			float64(p.GaveUp), "pool", name)
	}
	e.gauge("doorbell_listening",
		"1 if this server hears the doorbell of the other servers; 0 if it finds their events only "+
			"by polling.",
		boolean(c.DB.Hears()))
	e.counter("retention_events_removed_total",
		"Old events that this server has removed from the event log.",
		float64(c.DB.Retained.Events.Load()))
	e.counter("retention_failures_total",
		"How often removing old events failed.",
		float64(c.DB.Retained.Failed.Load()))
	e.counter("idempotency_keys_swept_total",
		"Idempotency keys that were removed after 24 hours.",
		float64(c.DB.Swept()))
}

// boolean returns 1 for true and 0 for false.
func boolean(v bool) float64 {
	if v {
		return 1
	}
	return 0
}
