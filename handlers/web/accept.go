package web

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// PrefersLines reports whether the client prefers JSON lines to text/event-stream (RFC 9110 §12.5.1).
// text/event-stream wins if the client accepts both equally, or accepts neither.
func PrefersLines(r *http.Request) bool {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	return quality(accept, "application", "x-ndjson") > quality(accept, "text", "event-stream")
}

// quality returns the weight (q) that an Accept field gives to a media type. If several ranges of the field
// match the type, the most specific range decides. Without a match, quality returns 0.
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
