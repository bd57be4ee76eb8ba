package vault

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/vfs/adiantum" // the encrypting file system

	"sotto/internal/suite"
)

const (
	// cacheKiB bounds SQLite's page cache. Rows are small and few are read
	// twice, and an idle client must fit in 80 MB.
	cacheKiB = 1024
	// checkpointPages bounds the write-ahead log at about 1 MiB, so that erased
	// secrets do not stay in it for long.
	checkpointPages = 256
	// checkUpTo is the size up to which opening reads every page, so that a
	// damaged file is found out before anything is sent: 16 MiB take 0.2 s.
	checkUpTo = 16 << 20
)

// openDB opens the database under keys derived from master, brings its schema
// up to date and checks it (spec/vault.md §5.2).
func openDB(opt Options, lock *fileLock, master suite.Key) (_ *Vault, err error) {
	raw := master.Bytes()
	defer clear(raw)
	pages := suite.DeriveKey(raw, labelPages)
	defer pages.Erase()

	// The path stands in a URI, so what means something there is escaped. The
	// log, else made with the mode of any new file, gets the database's.
	path := escapePath(opt.path(dbName))
	db, err := sqlite3.OpenFlags("file:"+path+"?vfs=adiantum&modeof="+path,
		sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE|sqlite3.OPEN_URI)
	if err != nil {
		return nil, fmt.Errorf("vault: open: %w", mapError(err))
	}
	v := &Vault{opt: opt, rows: suite.DeriveKey(raw, labelRows), lock: lock, db: db, stmts: map[string]*sqlite3.Stmt{}}
	defer func() {
		if err != nil {
			v.closeDB()
		}
	}()
	if err := v.configure(pages); err != nil {
		return nil, err
	}
	if err := v.migrate(); err != nil {
		return nil, err
	}
	return v, v.check()
}

// configure sets what a connection forgets. Exclusive locking keeps the index
// of the write-ahead log in memory, where no other process can read it.
func (v *Vault) configure(pages suite.Key) error {
	key := pages.Bytes()
	defer clear(key)
	for _, sql := range []string{
		"PRAGMA hexkey='" + hex.EncodeToString(key) + "'",
		"PRAGMA locking_mode=EXCLUSIVE",
		"PRAGMA temp_store=MEMORY",
		fmt.Sprintf("PRAGMA cache_size=-%d", cacheKiB),
		"PRAGMA journal_mode=WAL",
		"PRAGMA synchronous=FULL",
		"PRAGMA secure_delete=ON",
		"PRAGMA foreign_keys=ON",
		"PRAGMA trusted_schema=OFF",
		fmt.Sprintf("PRAGMA wal_autocheckpoint=%d", checkpointPages),
		"PRAGMA journal_size_limit=0",
	} {
		if err := v.guard(func() error { return v.db.Exec(sql) }); err != nil {
			return fmt.Errorf("vault: open: %w", err)
		}
	}
	return nil
}

func (v *Vault) check() error {
	info, err := os.Stat(v.opt.path(dbName))
	if err != nil || info.Size() > checkUpTo {
		return nil
	}
	result := ""
	err = v.guard(func() error {
		stmt, _, err := v.db.Prepare("PRAGMA quick_check(1)")
		if err != nil {
			return err
		}
		defer stmt.Close()
		if stmt.Step() {
			result = stmt.ColumnText(0)
		}
		return stmt.Err()
	})
	if err != nil {
		return err
	}
	if result != "ok" {
		return fmt.Errorf("%w: the database's structure is broken", ErrDamaged)
	}
	return nil
}

// guard turns a failure of the engine into an error: a file damaged in a way
// that trips an assertion of it must not end the program.
func (v *Vault) guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: the database engine gave up", ErrDamaged)
		}
	}()
	return mapError(f())
}

// mapError names damage, whatever way the engine found it.
func mapError(err error) error {
	if err == nil {
		return nil
	}
	for _, code := range []sqlite3.ErrorCode{sqlite3.NOTADB, sqlite3.CORRUPT, sqlite3.FORMAT} {
		if errors.Is(err, code) {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	if errors.Is(err, sqlite3.BUSY) || errors.Is(err, sqlite3.LOCKED) {
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return err
}

// Retryable reports whether err is the engine's and may pass: a full disk, or
// a file that could not be written just now.
func Retryable(err error) bool {
	var engine *sqlite3.Error
	return errors.As(err, &engine) && !errors.Is(err, ErrDamaged)
}

func escapePath(p string) string {
	out := make([]byte, 0, len(p))
	for i := range len(p) {
		switch c := p[i]; c {
		case '%', '?', '#', '&':
			out = fmt.Appendf(out, "%%%02X", c)
		default:
			out = append(out, c)
		}
	}
	return string(out)
}
