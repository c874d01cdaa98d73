package follow

// NewTransport is what a Client takes without a Transport.
var NewTransport = newTransport

const (
	Silence  = silence
	MaxAsked = maxAsked
)
