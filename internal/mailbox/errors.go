package mailbox

import (
	"errors"
	"fmt"
)

// ErrorCode is the class of a refusal, as it travels in a Failure
// (spec/mailbox.md §6).
type ErrorCode uint8

// The codes. A client decides by the code alone; the message is for people.
const (
	CodeInternal     ErrorCode = 1
	CodeVersion      ErrorCode = 2
	CodeFormat       ErrorCode = 3
	CodeBusy         ErrorCode = 4
	CodeNotOpen      ErrorCode = 5
	CodeQuota        ErrorCode = 6
	CodeBadSignature ErrorCode = 7
	CodeBadWork      ErrorCode = 8
	CodeReplay       ErrorCode = 9
	CodeSkew         ErrorCode = 10
	CodeWrongSwarm   ErrorCode = 11
	CodeTooLarge     ErrorCode = 12
	CodeExpired      ErrorCode = 13
	CodeUnknownKey   ErrorCode = 14
	CodeUnavailable  ErrorCode = 15
	CodeForbidden    ErrorCode = 16
)

var (
	// ErrInternal is a node's own trouble.
	ErrInternal = errors.New("mailbox: internal error")
	// ErrVersion is returned for an encoding of another version.
	ErrVersion = errors.New("mailbox: unknown version")
	// ErrFormat is returned for an encoding that is cut, too long or malformed.
	ErrFormat = errors.New("mailbox: malformed encoding")
	// ErrBusy is returned when a node has too much to do; try again later.
	ErrBusy = errors.New("mailbox: busy")
	// ErrNotOpen is returned for a mailbox that nobody opened.
	ErrNotOpen = errors.New("mailbox: not open")
	// ErrQuota is returned when a mailbox is full.
	ErrQuota = errors.New("mailbox: full")
	// ErrBadSignature is returned for a signature or certificate that does not
	// give the right that the request needs.
	ErrBadSignature = errors.New("mailbox: bad signature")
	// ErrBadWork is returned for work that is missing, too little, for
	// something else, or from a quote that does not count.
	ErrBadWork = errors.New("mailbox: bad proof of work")
	// ErrReplay is returned for a request that was seen before.
	ErrReplay = errors.New("mailbox: request replayed")
	// ErrSkew is returned for a request whose time is too far from the node's.
	ErrSkew = errors.New("mailbox: clocks differ too much")
	// ErrWrongSwarm is returned by a node that does not keep the mailbox.
	ErrWrongSwarm = errors.New("mailbox: kept by another swarm")
	// ErrTooLarge is returned for what exceeds a size or count.
	ErrTooLarge = errors.New("mailbox: too large")
	// ErrExpired is returned for times outside their bounds: an expiry that is
	// past or too far ahead, a period too far from now.
	ErrExpired = errors.New("mailbox: outside its time")
	// ErrUnknownKey is returned for a request sealed to a key that the node
	// does not hold (any more).
	ErrUnknownKey = errors.New("mailbox: unknown request key")
	// ErrUnavailable is returned when no majority of the swarm could be reached.
	ErrUnavailable = errors.New("mailbox: no majority")
	// ErrForbidden is returned for a request that this kind of mailbox has not.
	ErrForbidden = errors.New("mailbox: not for this kind of mailbox")

	// ErrOpen is returned for a sealed thing that does not open.
	ErrOpen = errors.New("mailbox: does not open")
	// ErrErased is returned for a period whose secret is gone.
	ErrErased = errors.New("mailbox: period is erased")
	// ErrReceipt is returned for a receipt that does not verify.
	ErrReceipt = errors.New("mailbox: bad receipt")
	// ErrStopped is returned when solving was stopped.
	ErrStopped = errors.New("mailbox: stopped")
)

// classes joins codes and sentinels; each stands once.
var classes = []struct {
	code ErrorCode
	name string
	err  error
}{
	{CodeInternal, "internal", ErrInternal},
	{CodeVersion, "version", ErrVersion},
	{CodeFormat, "format", ErrFormat},
	{CodeBusy, "busy", ErrBusy},
	{CodeNotOpen, "notOpen", ErrNotOpen},
	{CodeQuota, "quota", ErrQuota},
	{CodeBadSignature, "badSignature", ErrBadSignature},
	{CodeBadWork, "badWork", ErrBadWork},
	{CodeReplay, "replay", ErrReplay},
	{CodeSkew, "skew", ErrSkew},
	{CodeWrongSwarm, "wrongSwarm", ErrWrongSwarm},
	{CodeTooLarge, "tooLarge", ErrTooLarge},
	{CodeExpired, "expired", ErrExpired},
	{CodeUnknownKey, "unknownKey", ErrUnknownKey},
	{CodeUnavailable, "unavailable", ErrUnavailable},
	{CodeForbidden, "forbidden", ErrForbidden},
}

// String returns the code's name, for logs and metrics.
func (c ErrorCode) String() string {
	for _, k := range classes {
		if k.code == c {
			return k.name
		}
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// CodeOf returns the code of err: that of the sentinel it wraps, or
// CodeInternal.
func CodeOf(err error) ErrorCode {
	for _, k := range classes {
		if errors.Is(err, k.err) {
			return k.code
		}
	}
	return CodeInternal
}

// Refuse returns the Failure that tells a client of err. Its message is the
// class's own and nothing of err's text, which may speak of the node's inside.
func Refuse(err error) *Failure {
	f := &Failure{Code: CodeOf(err)}
	f.Message = f.Error()
	return f
}

// Error implements error. It does not repeat Message, which a node may have
// filled with anything.
func (f *Failure) Error() string { return f.Unwrap().Error() }

// Unwrap returns the sentinel of the code; an unknown code is ErrInternal.
func (f *Failure) Unwrap() error {
	for _, k := range classes {
		if k.code == f.Code {
			return k.err
		}
	}
	return ErrInternal
}
