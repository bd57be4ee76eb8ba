package link

import (
	"sync"

	"sotto/internal/onion"
)

// BatchCells is how many cells a Batch holds: as many as fit into 32 KiB, so
// that a busy circuit costs one read and one write for all of them.
const BatchCells = 28

// BatchBytes is the memory that a Batch takes.
const BatchBytes = BatchCells * onion.CellSize

// Batch is a run of whole cells in contiguous memory, so that they can be read,
// changed in place and written without being copied. NewBatch takes one from a
// pool, Release gives it back.
type Batch struct {
	n   int
	buf [BatchBytes]byte
}

var batches = sync.Pool{New: func() any { return new(Batch) }}

// NewBatch returns an empty batch.
func NewBatch() *Batch {
	b := batches.Get().(*Batch)
	b.n = 0
	return b
}

// Release gives the batch back; it must not be used afterwards.
func (b *Batch) Release() { batches.Put(b) }

// Len returns how many cells the batch holds.
func (b *Batch) Len() int { return b.n }

// Full reports whether no further cell fits.
func (b *Batch) Full() bool { return b.n == BatchCells }

// Cell returns cell i, within the batch's memory.
func (b *Batch) Cell(i int) *onion.Cell {
	return (*onion.Cell)(b.buf[i*onion.CellSize : (i+1)*onion.CellSize])
}

// Bytes returns all cells as they go on the wire.
func (b *Batch) Bytes() []byte { return b.buf[:b.n*onion.CellSize] }

// Next adds a cell of stale content for the caller to fill. The batch must not
// be full.
func (b *Batch) Next() *onion.Cell {
	b.n++
	return b.Cell(b.n - 1)
}

// Truncate keeps the first n cells.
func (b *Batch) Truncate(n int) { b.n = min(b.n, n) }

// Take moves cells from the front of other to the end of b until b is full or
// other is empty.
func (b *Batch) Take(other *Batch) {
	k := min(BatchCells-b.n, other.n)
	copy(b.buf[b.n*onion.CellSize:], other.buf[:k*onion.CellSize])
	copy(other.buf[:], other.buf[k*onion.CellSize:other.n*onion.CellSize])
	b.n += k
	other.n -= k
}
