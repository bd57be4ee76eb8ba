package vault

import (
	"context"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"sotto/internal/suite"
)

// Tx is a transaction, valid until the function that got it returns.
type Tx struct {
	v        *Vault
	readOnly bool
}

// Update runs fn in a transaction. When it returns nil, everything that fn
// wrote is on disk; else nothing is, unless the error came from the commit
// itself, of which nothing is known.
func (v *Vault) Update(ctx context.Context, fn func(*Tx) error) error {
	return v.transact(ctx, "BEGIN IMMEDIATE", fn)
}

// View runs fn in a transaction that only reads.
func (v *Vault) View(ctx context.Context, fn func(*Tx) error) error {
	return v.transact(ctx, "BEGIN", fn)
}

func (v *Vault) transact(ctx context.Context, begin string, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return ErrClosed
	}
	tx := &Tx{v: v, readOnly: begin == "BEGIN"}
	if err := tx.exec(begin); err != nil {
		return err
	}
	done := false
	defer func() {
		if !done { // fn panicked, or something below failed
			_ = tx.exec("ROLLBACK")
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	if tx.readOnly {
		return nil
	}
	if err := v.fault(BeforeCommit); err != nil {
		return err
	}
	if err := tx.exec("COMMIT"); err != nil {
		return err
	}
	done = true
	return v.fault(AfterCommit)
}

func (v *Vault) fault(p Point) error {
	if v.opt.Fault == nil {
		return nil
	}
	return v.opt.Fault(p)
}

// Checkpoint writes the log back into the database and empties it, so that
// what was erased is gone from both.
func (v *Vault) Checkpoint(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return ErrClosed
	}
	return v.guard(func() error {
		_, _, err := v.db.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
		return err
	})
}

// exec runs one statement that returns no rows.
func (t *Tx) exec(sql string, args ...any) error {
	return t.query(sql, func(*row) error { return nil }, args...)
}

// query runs one statement and calls each for every row. The statement is
// prepared once: all SQL of this package is constant.
func (t *Tx) query(sql string, each func(*row) error, args ...any) error {
	return t.v.guard(func() error {
		stmt, err := t.v.prepare(sql)
		if err != nil {
			return fmt.Errorf("vault: %w", err)
		}
		if stmt.Busy() {
			// A query inside its own rows would lose the outer one's place.
			return fmt.Errorf("vault: nested use of one statement")
		}
		defer func() {
			stmt.Reset()
			stmt.ClearBindings()
		}()
		if err := bind(stmt, args); err != nil {
			return fmt.Errorf("vault: %w", err)
		}
		for stmt.Step() {
			r := row{tx: t, s: stmt}
			if err := each(&r); err != nil {
				return err
			}
			if r.err != nil {
				return r.err
			}
		}
		if err := stmt.Err(); err != nil {
			return fmt.Errorf("vault: %w", err)
		}
		return nil
	})
}

// one is query for a single row, with ErrNotFound when there is none.
func (t *Tx) one(sql string, each func(*row) error, args ...any) error {
	found := false
	err := t.query(sql, func(r *row) error {
		found = true
		return each(r)
	}, args...)
	if err == nil && !found {
		return ErrNotFound
	}
	return err
}

func (v *Vault) prepare(sql string) (*sqlite3.Stmt, error) {
	if s := v.stmts[sql]; s != nil {
		return s, nil
	}
	s, _, err := v.db.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT)
	if err != nil {
		return nil, err
	}
	v.stmts[sql] = s
	return s, nil
}

func bind(s *sqlite3.Stmt, args []any) error {
	for i, a := range args {
		var err error
		switch a := a.(type) {
		case nil:
			err = s.BindNull(i + 1)
		case []byte:
			if a == nil {
				a = []byte{}
			}
			err = s.BindBlob(i+1, a)
		case string:
			err = s.BindText(i+1, a)
		case bool:
			err = s.BindBool(i+1, a)
		case int:
			err = s.BindInt64(i+1, int64(a))
		case int64:
			err = s.BindInt64(i+1, a)
		case uint64:
			err = s.BindInt64(i+1, int64(a))
		case uint32:
			err = s.BindInt64(i+1, int64(a))
		case uint8:
			err = s.BindInt64(i+1, int64(a))
		default:
			err = fmt.Errorf("argument of type %T", a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// row reads the columns of one row from the left; its first error sticks.
type row struct {
	tx  *Tx
	s   *sqlite3.Stmt
	col int
	err error
}

func (r *row) int64() int64 { r.col++; return r.s.ColumnInt64(r.col - 1) }

func (r *row) uint64() uint64 { return uint64(r.int64()) }

func (r *row) uint8() uint8 { return uint8(r.int64()) }

func (r *row) bool() bool { return r.int64() != 0 }

func (r *row) text() string { r.col++; return r.s.ColumnText(r.col - 1) }

// bytes returns a copy of the column, nil if it is empty.
func (r *row) bytes() []byte { r.col++; return r.s.ColumnBlob(r.col-1, nil) }

// fixed fills dst, whose length the column must have.
func (r *row) fixed(dst []byte) {
	b := r.bytes()
	if len(b) != len(dst) && r.err == nil {
		r.err = fmt.Errorf("%w: a column of %d bytes, want %d", ErrDamaged, len(b), len(dst))
		return
	}
	copy(dst, b)
}

// sealed opens a column that seal made for the same place.
func (r *row) sealed(place string, id ...[]byte) []byte {
	b := r.bytes()
	if len(b) == 0 {
		return nil
	}
	out, err := suite.OpenRandom(r.tx.v.rows, b, rowAD(place, id))
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%w: a row is not authentic", ErrDamaged)
	}
	return out
}

// seal encrypts a column. place names table and column, id the row: what is
// moved elsewhere does not open (spec/vault.md §4.4). Nothing stays nothing.
func (t *Tx) seal(plaintext []byte, place string, id ...[]byte) ([]byte, error) {
	if len(plaintext) == 0 {
		return []byte{}, nil
	}
	return suite.SealRandom(t.v.opt.Rand, t.v.rows, plaintext, rowAD(place, id))
}

func rowAD(place string, id [][]byte) []byte {
	h := suite.Hash(labelRowAD, append([][]byte{[]byte(place)}, id...)...)
	return h[:]
}
