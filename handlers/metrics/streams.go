package metrics

import (
	"slices"

	"fabric-guild/events"
	"fabric-guild/events/live"
)

// The names that a tally shows even while their count is 0.
var (
	transports = []string{"raw", "r3labs", "poll"}
	closings   = slices.Concat(events.ClosingReasons, events.Endings)
	backlogs   = []string{live.SourceRing.String(), live.SourceLog.String()}
	allSources = []live.Source{live.SourceLive, live.SourceRing, live.SourceLog}
)

func (c *collector) streams(e emitter) {
	n := c.Router.Counters()
	e.tally(n.Open.Counts(), transports, func(transport string, n float64) {
		e.gauge("streams", "Streams that are open, by transport.", n, "transport", transport)
	})
	e.gauge("streams_max", "Streams that this server takes at most; 0: any number.", float64(c.MaxStreams))
	e.tally(n.Opened.Counts(), transports, func(transport string, n float64) {
		e.counter("streams_opened_total", "Streams that were opened, by transport.", n, "transport", transport)
	})
	e.tally(n.Closed.Counts(), closings, func(reason string, n float64) {
		e.counter("streams_closed_total", "Streams that ended, by reason: as stream.closing tells it, disconnected (by the client or the network), stalled (no byte was taken within the write timeout), flooded (the client sent more than 4 KiB), or answered (a poll).", n, "reason", reason)
	})
	e.gauge("streams_catching_up", "Streams that are not live yet, or not any more: they read the ring of recent events or the log.", float64(n.CatchingUp.Load()))
	e.tally(n.CatchUps.Counts(), backlogs, func(source string, n float64) {
		e.counter("stream_catchups_total", "Catch-ups of streams that resumed or whose queue overflowed, by where the first of what they had missed came from: the ring of recent events, or the log in the database.", n, "source", source)
	})
	e.tally(n.Resets.Counts(), events.ResetReasons, func(reason string, n float64) {
		e.counter("stream_resets_total", "Streams whose cursor could not be continued, by reason.", n, "reason", reason)
	})
	e.counter("stream_queue_overflows_total", "Queues of slow readers that were dropped; their streams catch up.", float64(n.Overflows.Load()))
	e.counter("stream_writes_total", "Writes to streams; each carries all that was queued.", float64(n.Writes.Load()))
	e.counter("stream_written_frames_total", "Frames written to streams, heartbeats included.", float64(n.WrittenFrames.Load()))
	e.counter("stream_written_bytes_total", "Bytes of frames written to streams.", float64(n.WrittenBytes.Load()))
	for _, source := range allSources {
		for _, outcome := range events.Outcomes {
			e.counter("deliveries_total", "Events offered to streams, by outcome (wake; observer: delivered, wakes nobody; skip: kept away by the rules or a filter) and by source (live, the ring of recent events, or the log).",
				float64(n.Deliveries[source][outcome].Load()), "outcome", outcome.String(), "source", source.String())
		}
	}
}

func (c *collector) log(e emitter) {
	e.counter("log_events_read_total", "Events that the tailer has read.", float64(c.Tailer.Events()))
	e.gauge("log_position", "Number of the last event that was handed to the streams.", float64(c.Router.Position().Seq))
	e.gauge("log_read_age_seconds", "Time since the log was last read.", c.Tailer.Age().Seconds())
	e.gauge("log_horizon_lag_events", "Numbers that were given out beyond the safe horizon when the log was last read: what is undecided, and what waits behind it.", float64(c.Tailer.Undecided()))
	e.gauge("log_horizon_held_seconds", "Time for which the safe horizon has stood still before numbers that were given out; the oldest undecided transaction is at least that old.", c.Tailer.Held().Seconds())
	e.histogram("delivery_latency_seconds", "Time from an event's append, by the database's clock, to its hand-over to the streams, by this machine's: the commit, the doorbell, the read and the routing.", c.Tailer.Latency())
}
