package metrics

// authority sends the metrics of Center and of the admin. Without Center it sends nothing.
func (c *collector) authority(e emitter) {
	if c.Center == nil {
		return
	}
	for endpoint, n := range c.Center.Counts() {
		call := func(outcome string, calls int64) {
			e.counter("center_calls_total",
				"Ended calls to Center, by endpoint and outcome: answered, abandoned (the caller "+
					"went away), "+
					"or the reason of the failure.",
				float64(calls), "endpoint", endpoint, "outcome", outcome)
		}
		call("answered", n.Answered)
		call("abandoned", n.Abandoned)
		for reason, failures := range n.Failures {
			call(reason, failures)
		}
		e.histogram("center_call_duration_seconds",
			"Duration of calls to Center, by endpoint.",
			n.Took, "endpoint", endpoint)
	}
	full, address := c.Center.Refused()
	for reason, n := range map[string]int64{"full": full, "address": address} {
		e.counter("center_refused_total",
			"Checks of new tokens that were refused without a call to Center: too many such calls "+
				"were running "+
				"(full), or the client's address had asked too often (address).",
			float64(n), "reason", reason)
	}
	admin := c.Admin.State()
	e.gauge("admin_known",
		"1 if the server knows an admin, 0 if not.",
		boolean(admin.Known))
	var fetched float64
	if !admin.Fetched.IsZero() {
		fetched = float64(admin.Fetched.UnixMilli()) / 1000
	}
	e.gauge("admin_fetched_timestamp_seconds",
		"Unix time of the last fetch of the admin, successful or not; 0 if there was none.",
		fetched)
	e.counter("admin_fetch_failures_total",
		"Failed fetches of the admin. After a failure there is no admin until the next fetch.",
		float64(admin.Failed))
}
