package follow

// NewTransport makes the transport of a Client without its own.
var NewTransport = newTransport

const (
	Silence  = silence
	MaxAsked = maxAsked
)
