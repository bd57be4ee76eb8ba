package store

import "errors"

var (
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("store: closed")
	// ErrFailed is returned by every write after the disk failed.
	ErrFailed = errors.New("store: disk failed, writing stopped")
	// ErrDamaged is returned for a store that has to be repaired.
	ErrDamaged = errors.New("store: damaged")
	// ErrInUse is returned for a store that is open already.
	ErrInUse = errors.New("store: in use by another process")
	// ErrAway is returned while the store exchanges its engine.
	ErrAway = errors.New("store: not ready")
	// ErrCorrupt is returned for a row that does not match its checksum or layout.
	ErrCorrupt = errors.New("store: corrupt row")
	// ErrVersion is returned for a store of another format.
	ErrVersion = errors.New("store: unknown version of stored state")
	// ErrNotOpen is returned for a mailbox that nobody has opened.
	ErrNotOpen = errors.New("store: mailbox is not open")
	// ErrQuota is returned when an envelope exceeds what was opened.
	ErrQuota = errors.New("store: mailbox is full")
	// ErrFull is returned when the store holds as much as it may, or the disk as
	// much as it can.
	ErrFull = errors.New("store: no room")
	// ErrTooLate is returned for an envelope that would outlive its mailbox.
	ErrTooLate = errors.New("store: expires after its mailbox")
	// ErrTooLarge is returned for a record beyond the limits.
	ErrTooLarge = errors.New("store: record too large")
	// ErrConflict is returned for an envelope that is here with another expiry.
	ErrConflict = errors.New("store: envelope is here with another expiry")
	// ErrNotReady is returned while the summaries are being made.
	ErrNotReady = errors.New("store: summaries are being made")
	// ErrBusy is returned for a question that would read too many rows.
	ErrBusy = errors.New("store: question reads too many rows")
	// ErrOrder is returned for bounds that are not in order.
	ErrOrder = errors.New("store: bounds out of order")
	// ErrNotFound is returned for a record that is not (or no longer) here.
	ErrNotFound = errors.New("store: no such record")
)
