package handlers

// ErrorCode is an entry of the table of error codes.
type ErrorCode struct {
	Code   string
	Status int
	Advice string
}

// ErrorCodes returns the table of error codes.
func ErrorCodes() []ErrorCode {
	all := make([]ErrorCode, len(errorCodes))
	for i, c := range errorCodes {
		all[i] = ErrorCode{c.code, c.status, c.advice}
	}
	return all
}
