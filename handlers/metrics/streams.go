package metrics

import (
	"slices"

	"fabric-guild/events"
	"fabric-guild/events/live"
)

// The known label values. They are sent from the start, before their first occurrence.
var (
	transports = []string{"raw", "r3labs", "poll"}
	closings   = slices.Concat(events.ClosingReasons, events.Endings)
	backlogs   = []string{live.SourceRing.String(), live.SourceLog.String()}
	allSources = []live.Source{live.SourceLive, live.SourceRing, live.SourceLog}
)

// streams sends the metrics of streams and deliveries.
func (c *collector) streams(e emitter) {
	n := c.Router.Counters()
	e.tally(n.Open.Counts(), transports, func(transport string, n float64) {
		e.gauge("streams",
			"Open streams, by transport.",
			n, "transport", transport)
	})
	e.gauge("streams_max",
		"Maximum number of streams on this server; 0 means no limit.",
		float64(c.MaxStreams))
	e.tally(n.Opened.Counts(), transports, func(transport string, n float64) {
		e.counter("streams_opened_total",
			"Opened streams, by transport.",
			n, "transport", transport)
	})
	e.tally(n.Closed.Counts(), closings, func(reason string, n float64) {
		e.counter("streams_closed_total",
			"Ended streams, by reason: a reason of stream.closing, disconnected (by the client or "+
				"the network), "+
				"stalled (the client took no byte within the write timeout), "+
				"flooded (the client sent more than 4 KiB), answered (a poll), or late (a poll that "+
				"took too long).",
			n, "reason", reason)
	})
	e.gauge("streams_catching_up",
		"Streams that are not live: they read the ring of recent events or the event log.",
		float64(n.CatchingUp.Load()))
	e.tally(n.CatchUps.Counts(), backlogs, func(source string, n float64) {
		e.counter("stream_catchups_total",
			"Catch-ups of streams that resumed or whose queue overflowed, by the source of the first "+
				"missed event: "+
				"the ring of recent events, or the event log in the database.",
			n, "source", source)
	})
	e.tally(n.Resets.Counts(), events.ResetReasons, func(reason string, n float64) {
		e.counter("stream_resets_total",
			"Streams that could not resume after their cursor, by reason.",
			n, "reason", reason)
	})
	e.counter("stream_queue_overflows_total",
		"Queue overflows of slow streams. The queue is dropped, and the stream catches up.",
		float64(n.Overflows.Load()))
	e.counter("stream_signals_total",
		"Signals (activity, states of work, read marks) queued for streams.",
		float64(n.Signals.Load()))
	e.counter("stream_signals_dropped_total",
		"Signals that streams did not get, because their clients or this server had no room. Messages are "+
			"never dropped.",
		float64(n.SignalsDropped.Load()))
	e.counter("stream_writes_total",
		"Writes to streams. A write carries all queued frames.",
		float64(n.Writes.Load()))
	e.counter("stream_written_frames_total",
		"Frames written to streams, including heartbeats.",
		float64(n.WrittenFrames.Load()))
	e.counter("stream_written_bytes_total",
		"Bytes of frames written to streams.",
		float64(n.WrittenBytes.Load()))
	for _, source := range allSources {
		for _, outcome := range events.Outcomes {
			e.counter("deliveries_total",
				"Events offered to streams, by outcome (wake; observer: sent without waking the user; "+
					"skip: not sent because of the rules or a filter) "+
					"and by source (live, the ring of recent events, or the event log).",
				float64(n.Deliveries[source][outcome].Load()), "outcome", outcome.String(), "source",
				source.String())
		}
	}
}

// log sends the metrics of the event log and its tailer.
func (c *collector) log(e emitter) {
	e.counter("log_events_read_total",
		"Events that the tailer has read from the event log.",
		float64(c.Tailer.Events()))
	e.gauge("log_position",
		"Number of the last event that was handed to the streams.",
		float64(c.Router.Position().Seq))
	e.counter("search_indexed_events_total",
		"Events that this server has taken into the search index.",
		float64(c.DB.Words.Indexed.Load()))
	e.gauge("search_index_position",
		"Number of the event up to which the search index is complete, as this server last saw. It follows "+
			"log_position.",
		float64(c.DB.Words.Position.Load()))
	e.gauge("log_read_age_seconds",
		"Time since the event log was last read.",
		c.Tailer.Age().Seconds())
	e.gauge("log_horizon_lag_events",
		"Event numbers beyond the horizon at the last read of the event log: "+
			"those of undecided transactions, and those behind them.",
		float64(c.Tailer.Undecided()))
	e.gauge("log_horizon_held_seconds",
		"How long the horizon has not moved although there are event numbers beyond it. "+
			"The oldest undecided transaction is at least that old.",
		c.Tailer.Held().Seconds())
	e.histogram("delivery_latency_seconds",
		"Time from the append of an event to its hand-over to the streams: commit, doorbell, read "+
			"and routing. "+
			"It starts by the clock of the database and ends by the clock of this machine.",
		c.Tailer.Latency())
}
