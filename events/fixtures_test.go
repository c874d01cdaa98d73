package events

import (
	"fmt"

	"github.com/google/uuid"
)

// ops is the channel of most tests.
var ops = channelNamed(1)

func channelNamed(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("00000000-0000-7000-8000-%012d", n))
}
