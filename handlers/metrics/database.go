package metrics

func (c *collector) database(e emitter) {
	for name, p := range c.DB.Pools() {
		for state, n := range map[string]int{"acquired": p.Acquired, "idle": p.Idle, "constructing": p.Constructing} {
			e.gauge("db_pool_connections", "Connections of a pool, by state.", float64(n), "pool", name, "state", state)
		}
		e.gauge("db_pool_connections_max", "Connections that a pool may have.", float64(p.Max), "pool", name)
		e.counter("db_pool_waits_total", "Times that no connection was idle, and one was waited for or made.", float64(p.Waits), "pool", name)
		e.counter("db_pool_wait_seconds_total", "Time spent on that.", p.Waited.Seconds(), "pool", name)
		e.counter("db_pool_gave_up_total", "Times that a caller gave up before it had a connection.", float64(p.GaveUp), "pool", name)
	}
	e.gauge("doorbell_listening", "Whether other servers' rings reach this one (1); if not (0), their events are found by polling.", boolean(c.DB.Hears()))
	e.counter("retention_events_removed_total", "Old events that this server has removed from the log.", float64(c.DB.Retained.Events.Load()))
	e.counter("retention_failures_total", "Times that old events could not be removed.", float64(c.DB.Retained.Failed.Load()))
	e.counter("idempotency_keys_swept_total", "Idempotency keys that were forgotten after their day.", float64(c.DB.Swept()))
}

func boolean(v bool) float64 {
	if v {
		return 1
	}
	return 0
}
