// Package vault is the encrypted local store of one account: a SQLite database
// whose pages are encrypted by the Adiantum VFS, in which secrets and message
// bodies are sealed once more under a key of their own. It implements
// spec/vault.md.
//
// It keeps rows and knows no protocol: what a session or a period secret
// means is internal/client's, which hands them over as bytes.
//
//	DIR/vault.header   version, Argon2id parameters, salt, wrapped master key
//	DIR/vault.db       the database (and vault.db-wal beside it while open)
//	DIR/vault.lock     locked while a process has the vault open
package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/ncruces/go-sqlite3"

	"sotto/internal/suite"
)

// The labels of spec/vault.md §2.
const (
	labelWrap   suite.Label = suite.LabelPrefix + "vault/wrap"
	labelHeader suite.Label = suite.LabelPrefix + "vault/header"
	labelPages  suite.Label = suite.LabelPrefix + "vault/pages"
	labelRows   suite.Label = suite.LabelPrefix + "vault/rows"
	labelRowAD  suite.Label = suite.LabelPrefix + "vault/row-ad"
)

var (
	// ErrPassphrase is returned when the header is whole and the passphrase
	// does not open it.
	ErrPassphrase = errors.New("vault: wrong passphrase")
	// ErrDamaged is returned when a file of the vault is not what was written.
	ErrDamaged = errors.New("vault: damaged file")
	// ErrInUse is returned when another process (or vault of this one) has it open.
	ErrInUse = errors.New("vault: in use by another process")
	// ErrExists is returned by Create when there is a vault already.
	ErrExists = errors.New("vault: exists already")
	// ErrMissing is returned by Open when there is no vault.
	ErrMissing = errors.New("vault: there is none")
	// ErrNotFound is returned by accessors for a row that is not there.
	ErrNotFound = errors.New("vault: no such row")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("vault: closed")
	// ErrVersion is returned for a vault of a later version.
	ErrVersion = errors.New("vault: written by a later version")
)

// Options say where the vault lies.
type Options struct {
	Dir string
	// Rand is the source of keys and nonces; nil is the system's.
	Rand io.Reader
	// KDF is used by Create; zero calibrates.
	KDF KDFParams
	// Fault is for tests of crashes: an error that it returns before a commit
	// makes Update roll back, after a commit makes it report a failure of what
	// is already on disk.
	Fault func(Point) error
}

// Point is a moment of a write at which a test can let the process die.
type Point uint8

// The points of Options.Fault.
const (
	BeforeCommit Point = iota
	AfterCommit
)

// Vault is an open store. Its methods may be called from several goroutines;
// one connection serves them in turn, which keeps memory low.
type Vault struct {
	opt  Options
	rows suite.Key
	lock *fileLock

	mu     sync.Mutex // guards what follows
	db     *sqlite3.Conn
	stmts  map[string]*sqlite3.Stmt
	closed bool
}

func (o *Options) fill() {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
}

func (o *Options) path(name string) string { return filepath.Join(o.Dir, name) }

const (
	headerName = "vault.header"
	dbName     = "vault.db"
	lockName   = "vault.lock"
)

const (
	// dirMode and fileMode let only the owner in: sizes and times of a profile
	// are nobody's business either.
	dirMode  = 0o700
	fileMode = 0o600
)

// protect closes the directory, and what an earlier process left in it, to
// everybody but the owner.
func (o *Options) protect() error {
	if err := os.Chmod(o.Dir, dirMode); err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	for _, name := range []string{headerName, dbName, dbName + "-wal", dbName + "-journal", lockName} {
		if err := os.Chmod(o.path(name), fileMode); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("vault: %w", err)
		}
	}
	return nil
}

// Exists reports whether dir holds a vault. One whose creation was cut short
// does not count: its header is written last.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, headerName))
	return err == nil
}

// Create makes a vault, and fills it with init in its first transaction. The
// vault exists only when that has succeeded (spec/vault.md §5.1).
func Create(ctx context.Context, opt Options, passphrase []byte, init func(*Tx) error) (*Vault, error) {
	opt.fill()
	if err := os.MkdirAll(opt.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	if err := opt.protect(); err != nil {
		return nil, err
	}
	lock, err := lockFile(opt.path(lockName))
	if err != nil {
		return nil, err
	}
	v, err := create(ctx, opt, lock, passphrase, init)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return v, nil
}

func create(ctx context.Context, opt Options, lock *fileLock, passphrase []byte, init func(*Tx) error) (*Vault, error) {
	if Exists(opt.Dir) {
		return nil, ErrExists
	}
	if err := opt.clear(); err != nil {
		return nil, err
	}
	if opt.KDF == (KDFParams{}) {
		opt.KDF = Calibrate(targetTime)
	}
	master, header, err := newHeader(opt.Rand, opt.KDF, passphrase)
	if err != nil {
		return nil, err
	}
	defer master.Erase()
	if err := os.WriteFile(opt.path(dbName), nil, fileMode); err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	v, err := openDB(opt, lock, master)
	if err != nil {
		return nil, err
	}
	if err = v.Update(ctx, init); err == nil {
		err = writeHeader(opt, header)
	}
	if err != nil {
		v.closeDB()
		return nil, err
	}
	return v, nil
}

// Destroy removes a vault for good, the header first: without it the rest is
// noise. It fails with ErrInUse while the vault is open.
func Destroy(dir string) error {
	opt := Options{Dir: dir}
	lock, err := lockFile(opt.path(lockName))
	if err != nil {
		return err
	}
	err = os.Remove(opt.path(headerName))
	return errors.Join(err, opt.clear(), lock.Close())
}

// clear removes everything but header and lock.
func (o *Options) clear() error {
	for _, name := range []string{dbName, dbName + "-wal", dbName + "-journal", headerName + ".new"} {
		if err := os.Remove(o.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("vault: %w", err)
		}
	}
	return nil
}

// Open opens a vault with its passphrase. The error is ErrMissing, ErrInUse,
// ErrPassphrase, ErrDamaged or ErrVersion when one of them is the case.
func Open(ctx context.Context, opt Options, passphrase []byte) (*Vault, error) {
	opt.fill()
	if !Exists(opt.Dir) {
		return nil, ErrMissing
	}
	if err := opt.protect(); err != nil {
		return nil, err
	}
	lock, err := lockFile(opt.path(lockName))
	if err != nil {
		return nil, err
	}
	v, err := open(opt, lock, passphrase)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return v, nil
}

func open(opt Options, lock *fileLock, passphrase []byte) (*Vault, error) {
	master, err := readHeader(opt, passphrase)
	if err != nil {
		return nil, err
	}
	defer master.Erase()
	if _, err := os.Stat(opt.path(dbName)); err != nil {
		return nil, fmt.Errorf("%w: the database is missing", ErrDamaged)
	}
	return openDB(opt, lock, master)
}

// Close writes everything back and releases the lock. It is safe to call twice.
func (v *Vault) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil
	}
	err := v.closeDBLocked()
	v.rows.Erase()
	return errors.Join(err, v.lock.Close())
}

func (v *Vault) closeDB() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closeDBLocked()
}

func (v *Vault) closeDBLocked() error {
	v.closed = true
	for _, s := range v.stmts {
		s.Close()
	}
	v.stmts = nil
	return mapError(v.db.Close())
}
