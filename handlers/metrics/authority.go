package metrics

// authority tells of Center and the admin, if there is a Center.
func (c *collector) authority(e emitter) {
	if c.Center == nil {
		return
	}
	for endpoint, n := range c.Center.Counts() {
		call := func(outcome string, calls int64) {
			e.counter("center_calls_total", "Calls of Center that have ended, by endpoint and outcome: answered, abandoned by who asked, or why they failed.", float64(calls), "endpoint", endpoint, "outcome", outcome)
		}
		call("answered", n.Answered)
		call("abandoned", n.Abandoned)
		for reason, failures := range n.Failures {
			call(reason, failures)
		}
		e.histogram("center_call_duration_seconds", "Time that calls of Center took, by endpoint.", n.Took, "endpoint", endpoint)
	}
	full, address := c.Center.Refused()
	for reason, n := range map[string]int64{"full": full, "address": address} {
		e.counter("center_refused_total", "Questions about tokens that were not valid before, refused without a call of Center: all places for them were taken (full), or their client's address had asked too often (address).", float64(n), "reason", reason)
	}
	admin := c.Admin.State()
	e.gauge("admin_known", "Whether there is an admin (1), as far as is known.", boolean(admin.Known))
	var fetched float64
	if !admin.Fetched.IsZero() {
		fetched = float64(admin.Fetched.UnixMilli()) / 1000
	}
	e.gauge("admin_fetched_timestamp_seconds", "When the admin was last fetched, well or not, in Unix time; 0: not yet.", fetched)
	e.counter("admin_fetch_failures_total", "Fetches of the admin that failed: until the next there is none.", float64(admin.Failed))
}
