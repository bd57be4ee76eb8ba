package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cheap makes tests fast; what the parameters cost is TestCalibrate's matter.
var cheap = KDFParams{MemoryKiB: 64, Passes: 1, Threads: 1}

var pass = []byte("correct horse battery")

func options(dir string) Options { return Options{Dir: dir, KDF: cheap} }

func newVault(t testing.TB, dir string, init func(*Tx) error) *Vault {
	t.Helper()
	if init == nil {
		init = func(*Tx) error { return nil }
	}
	v, err := Create(context.Background(), options(dir), pass, init)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func reopen(t testing.TB, dir string) *Vault {
	t.Helper()
	v, err := Open(context.Background(), options(dir), pass)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func update(t testing.TB, v *Vault, fn func(*Tx) error) {
	t.Helper()
	if err := v.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, v *Vault, fn func(*Tx) error) {
	t.Helper()
	if err := v.View(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestOpenTellsErrorsApart(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	if _, err := Open(ctx, options(dir), pass); !errors.Is(err, ErrMissing) {
		t.Fatalf("empty directory: got %v, want ErrMissing", err)
	}
	v := newVault(t, dir, nil)
	if _, err := Open(ctx, options(dir), pass); !errors.Is(err, ErrInUse) {
		t.Fatalf("second opening: got %v, want ErrInUse", err)
	}
	v.Close()
	if _, err := Create(ctx, options(dir), pass, func(*Tx) error { return nil }); !errors.Is(err, ErrExists) {
		t.Fatalf("second creation: got %v, want ErrExists", err)
	}
	if _, err := Open(ctx, options(dir), []byte("wrong")); !errors.Is(err, ErrPassphrase) {
		t.Fatalf("wrong passphrase: got %v, want ErrPassphrase", err)
	}
	if err := v.Update(ctx, func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Fatalf("closed: got %v, want ErrClosed", err)
	}
	reopen(t, dir)
}

func TestDamageIsNamed(t *testing.T) {
	dir := t.TempDir()
	v := newVault(t, dir, func(tx *Tx) error { return tx.SetAccount(Account{Seed: make([]byte, 32), Name: "n"}) })
	v.Close()
	for _, name := range []string{headerName, dbName} {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		step := 1
		if name == dbName {
			step = 1500 // each 4 KiB block is hit at least twice
		}
		for i := 0; i < len(good); i += step {
			bad := bytes.Clone(good)
			bad[i] ^= 0x40
			os.WriteFile(path, bad, 0o600)
			v, err := Open(context.Background(), options(dir), pass)
			if err == nil {
				// A garbled block that holds no row is no damage to anything.
				err = v.View(context.Background(), func(tx *Tx) error {
					_, err := tx.Account()
					return err
				})
				v.Close()
				if err == nil {
					t.Logf("%s: byte %d is in an unused part", name, i)
					continue
				}
			}
			if !errors.Is(err, ErrDamaged) && !(name == headerName && i == 0 && errors.Is(err, ErrVersion)) {
				t.Fatalf("%s: byte %d changed: got %v, want ErrDamaged", name, i, err)
			}
		}
		for _, n := range []int{0, 1, len(good) / 2} {
			os.WriteFile(path, good[:n], 0o600)
			v, err := Open(context.Background(), options(dir), pass)
			if err == nil {
				err = v.View(context.Background(), func(tx *Tx) error {
					_, err := tx.Account()
					return err
				})
				v.Close()
			}
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) {
				t.Fatalf("%s cut to %d bytes: got %v, want ErrDamaged", name, n, err)
			}
		}
		os.WriteFile(path, good, 0o600)
	}
	if err := os.Remove(filepath.Join(dir, dbName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), options(dir), pass); !errors.Is(err, ErrDamaged) {
		t.Fatalf("no database: got %v, want ErrDamaged", err)
	}
}

func TestNothingPlainOnDisk(t *testing.T) {
	dir := t.TempDir()
	secrets := [][]byte{[]byte("MARKER-body-of-a-message"), []byte("MARKER-name-of-a-contact"), make([]byte, 32)}
	rand.Read(secrets[2])
	scan := func(when string) {
		t.Helper()
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		if len(files) < 3 {
			t.Fatalf("%s: only %d files", when, len(files))
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range append(secrets, pass, []byte("SQLite format"), []byte("CREATE TABLE"), []byte(hex.EncodeToString(secrets[2]))) {
				if bytes.Contains(b, s) {
					t.Errorf("%s: %s holds plaintext", when, filepath.Base(f))
				}
			}
		}
	}
	v := newVault(t, dir, func(tx *Tx) error { return tx.SetAccount(Account{Seed: secrets[2], Name: string(secrets[1])}) })
	update(t, v, func(tx *Tx) error {
		c := Contact{ID: [32]byte(secrets[2]), State: ContactAccepted, Name: string(secrets[1])}
		if err := tx.SetContact(c); err != nil {
			return err
		}
		for i := range 300 {
			m := Message{ID: [16]byte{byte(i), byte(i >> 8)}, Peer: c.ID, Text: strings.Repeat(string(secrets[0]), 20)}
			if err := tx.AddMessage(&m); err != nil {
				return err
			}
		}
		return nil
	})
	scan("open")
	if err := v.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	scan("after a checkpoint")
	v.Close()
	scan("closed")
}

func TestMovedRowsDoNotOpen(t *testing.T) {
	v := newVault(t, t.TempDir(), nil)
	update(t, v, func(tx *Tx) error {
		if err := tx.SetSetting("a", []byte("one")); err != nil {
			return err
		}
		return tx.SetSetting("b", []byte("two"))
	})
	update(t, v, func(tx *Tx) error {
		return tx.exec("UPDATE settings SET value=(SELECT value FROM settings WHERE key='a') WHERE key='b'")
	})
	err := v.View(context.Background(), func(tx *Tx) error {
		_, err := tx.Setting("b")
		return err
	})
	if !errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v, want ErrDamaged", err)
	}
}

func TestInterruptedCreationLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	boom := errors.New("boom")
	if _, err := Create(context.Background(), options(dir), pass, func(*Tx) error { return boom }); err != boom {
		t.Fatalf("got %v", err)
	}
	if Exists(dir) {
		t.Fatal("a vault exists whose creation failed")
	}
	newVault(t, dir, nil)
}

func TestFaults(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	boom := errors.New("boom")
	at := Point(255)
	opt := options(dir)
	opt.Fault = func(p Point) error {
		if p == at {
			return boom
		}
		return nil
	}
	v, err := Create(ctx, opt, pass, func(*Tx) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	write := func(key string) error {
		return v.Update(ctx, func(tx *Tx) error { return tx.SetNumber(key, 7) })
	}
	at = BeforeCommit
	if err := write("before"); err != boom {
		t.Fatal(err)
	}
	at = AfterCommit
	if err := write("after"); err != boom {
		t.Fatal(err)
	}
	at = 255
	view(t, v, func(tx *Tx) error {
		before, _ := tx.Number("before")
		after, _ := tx.Number("after")
		if before != 0 || after != 7 {
			t.Errorf("got %d and %d, want 0 and 7", before, after)
		}
		return nil
	})
}

func TestLaterVersionsAreRefused(t *testing.T) {
	dir := t.TempDir()
	v := newVault(t, dir, nil)
	if err := v.db.Exec("PRAGMA user_version=99"); err != nil {
		t.Fatal(err)
	}
	v.Close()
	if _, err := Open(context.Background(), options(dir), pass); !errors.Is(err, ErrVersion) {
		t.Fatalf("got %v, want ErrVersion", err)
	}
}

func TestCalibrate(t *testing.T) {
	p := Calibrate(1) // as fast as may be: the floor holds
	if p.MemoryKiB < minMemoryKiB || p.Passes < minPasses {
		t.Fatalf("got %+v, below the floor", p)
	}
	if err := p.check(); err != nil {
		t.Fatal(err)
	}
}

func TestMemory(t *testing.T) {
	v := newVault(t, t.TempDir(), nil)
	peer := [32]byte{1}
	update(t, v, func(tx *Tx) error { return tx.SetContact(Contact{ID: peer, State: ContactAccepted}) })
	for i := range 50 {
		update(t, v, func(tx *Tx) error {
			for j := range 100 {
				m := Message{ID: [16]byte{byte(i), byte(j), 1}, Peer: peer, Text: strings.Repeat("x", 500)}
				if err := tx.AddMessage(&m); err != nil {
					return err
				}
			}
			return nil
		})
	}
	runtime.GC()
	used, _, err := v.db.Status(1 /* SQLITE_DBSTATUS_CACHE_USED */, false)
	if err != nil {
		t.Fatal(err)
	}
	if used > 2*cacheKiB<<10 {
		t.Errorf("page cache of %d bytes", used)
	}
}

func FuzzHeader(f *testing.F) {
	// Each process of the fuzzer must make the same one.
	_, good, err := newHeader(bytes.NewReader(bytes.Repeat([]byte{7}, 1024)), cheap, pass)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:20])
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := openHeader(in, pass); err == nil && !bytes.Equal(in, good) {
			t.Fatal("a header that was not written opens")
		}
	})
}
