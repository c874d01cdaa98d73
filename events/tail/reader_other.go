//go:build !linux

package tail

import "os"

// whenUnread does nothing on this system. Here only a failed write shows that the reader is gone.
func whenUnread(*os.File, func()) (stop func()) { return func() {} }
