package handlers

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// prefersLines reports whether JSON lines are wanted in the place of text/event-stream (RFC 9110 §12.5.1).
// Between equals, and for who accepts neither, it is text/event-stream.
func prefersLines(r *http.Request) bool {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	return quality(accept, "application", "x-ndjson") > quality(accept, "text", "event-stream")
}

// quality is what an Accept field gives to a media type: that of the most specific range that it is in.
func quality(accept, kind, subtype string) (q float64) {
	var specific int
	for part := range strings.SplitSeq(accept, ",") {
		name, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		rank := map[string]int{"*/*": 1, kind + "/*": 2, kind + "/" + subtype: 3}[name]
		if rank <= specific {
			continue
		}
		specific, q = rank, 1
		if s, given := params["q"]; given {
			if q, err = strconv.ParseFloat(s, 64); err != nil || !(q >= 0 && q <= 1) {
				q = 0
			}
		}
	}
	return q
}
