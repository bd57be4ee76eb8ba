package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"sotto/internal/directory"
)

// directoriesDir holds, within a node's folder, the directory in use and the
// past ones that still matter, one file for each serial.
const directoriesDir = "directories"

// folder is where a node's directories lie. network.json is the newest; its
// operator may replace it. The copies beside it are the node's own: a node that
// starts again needs the past ones, and never goes back to an older one.
type folder struct {
	dir string

	aside []error // why open set files aside

	mu   sync.Mutex  // guards seen
	seen fs.FileInfo // of network.json, when it was read last
}

// suffixRefused ends the name of a file that was set aside.
const suffixRefused = ".refused"

// open reads all that the folder has, and returns a source that begins with the
// newest. Files that are no directories are set aside, as long as one is left.
func (f *folder) open(now func() time.Time) (*directory.Live, error) {
	noted := f.note() // first: what is put there meanwhile is another
	if noted != nil && !errors.Is(noted, fs.ErrNotExist) {
		return nil, noted
	}
	names, err := f.copies()
	if err != nil {
		return nil, err
	}
	var all []*directory.Network
	var newest *directory.Network
	bad := make(map[string]error)
	for _, name := range append([]string{networkFile}, names...) {
		n, err := f.read(name)
		if err != nil {
			bad[name] = err
			continue
		}
		all = append(all, n)
		if newest == nil || n.Document.Serial > newest.Document.Serial {
			newest = n
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("%w: put the %s of whoever signs the network's directories into the node's folder", bad[networkFile], networkFile)
	}
	for name, err := range bad {
		if err := f.setAside(name, err); err != nil {
			return nil, err
		}
	}
	d, err := newest.Directory()
	if err != nil {
		return nil, err
	}
	live := directory.NewLive(d, now)
	for _, n := range all {
		if err := live.Remember(n); err != nil {
			var fork *directory.Fork
			if errors.As(err, &fork) {
				err = errors.Join(err, f.keepFork(fork))
			}
			return nil, fmt.Errorf("node: %s does not fit the directories that this node has (%s): remove it, and the node goes on with these: %w", networkFile, directoriesDir, err)
		}
	}
	return live, f.store(d.Network())
}

// setAside renames a file that is of no use, so that its place can be taken and
// its operator can look at it.
func (f *folder) setAside(name string, why error) error {
	f.aside = append(f.aside, why)
	path := filepath.Join(f.dir, name)
	if err := os.Rename(path, path+suffixRefused); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("node: %w", err)
	}
	return nil
}

// copies lists the files of past and present directories.
func (f *folder) copies() (names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(f.dir, directoriesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	for _, e := range entries {
		if _, ok := serialOf(e.Name()); ok {
			names = append(names, filepath.Join(directoriesDir, e.Name()))
		}
	}
	return names, nil
}

func copyName(serial uint64) string { return strconv.FormatUint(serial, 10) + ".json" }

func serialOf(name string) (uint64, bool) {
	s, ok := strings.CutSuffix(filepath.Base(name), ".json")
	if !ok {
		return 0, false
	}
	serial, err := strconv.ParseUint(s, 10, 64)
	return serial, err == nil
}

func (f *folder) read(name string) (*directory.Network, error) {
	b, err := readBounded(filepath.Join(f.dir, name), directory.MaxNetworkFile)
	if err != nil {
		return nil, err
	}
	n, err := directory.ParseNetwork(b)
	if err != nil {
		return nil, fmt.Errorf("node: %s: %w", name, err)
	}
	return n, nil
}

// changed returns the network of network.json if the file is another one than
// when it was read last, or nil.
func (f *folder) changed() (*directory.Network, error) {
	info, err := os.Stat(filepath.Join(f.dir, networkFile))
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	f.mu.Lock()
	seen := f.seen
	f.seen = info
	f.mu.Unlock()
	if os.SameFile(info, seen) && info.ModTime().Equal(seen.ModTime()) && info.Size() == seen.Size() {
		return nil, nil
	}
	return f.read(networkFile)
}

// note remembers network.json as it is.
func (f *folder) note() error {
	info, err := os.Stat(filepath.Join(f.dir, networkFile))
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = info
	return nil
}

// store writes a directory: first the copy, then network.json unless that has a
// newer one. A crash in between leaves the newer one in the copies, where a
// start finds it.
func (f *folder) store(n *directory.Network) error {
	b, err := (&directory.Network{Document: n.Document, Key: n.Key, Signature: n.Signature}).Encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(f.dir, directoriesDir), 0o700); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	path := filepath.Join(f.dir, directoriesDir, copyName(n.Document.Serial))
	if had, err := os.ReadFile(path); err != nil || !bytes.Equal(had, b) { // a full disk still lets a node start
		if err := ReplaceFile(path, b); err != nil {
			return err
		}
	}
	if given, err := f.read(networkFile); err == nil && given.Document.Serial >= n.Document.Serial {
		return nil
	}
	next, err := writeBeside(filepath.Join(f.dir, networkFile), b)
	if err != nil {
		return err
	}
	return f.place(next, n.Document.Serial)
}

// place makes a written file network.json, unless that has a newer directory by
// now: its operator may have put one there since it was looked at. So the two
// change places, and what was found goes back if it is the newer one. Where files
// cannot change places, the last look is all there is.
func (f *folder) place(next string, serial uint64) error {
	path := filepath.Join(f.dir, networkFile)
	ours, err := os.Stat(next)
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	mine := true
	for {
		if err := exchange(next, path); err != nil {
			if err := os.Rename(next, path); err != nil {
				return fmt.Errorf("node: %w", errors.Join(err, os.Remove(next)))
			}
			break
		}
		found, err := f.read(filepath.Base(next))
		if err == nil && found.Document.Serial > serial {
			serial, mine = found.Document.Serial, false
			continue
		}
		if err := os.Remove(next); err != nil {
			return fmt.Errorf("node: %w", err)
		}
		break
	}
	if mine {
		f.mu.Lock()
		f.seen = ours
		f.mu.Unlock()
	}
	return syncDir(f.dir)
}

// keep stores the past directories of a source that the folder lacks, and
// removes copies that do not matter any more.
func (f *folder) keep(s directory.Source) error {
	matter := map[uint64]bool{s.Current().Serial(): true}
	for _, d := range s.Past() {
		matter[d.Serial()] = true
		path := filepath.Join(f.dir, directoriesDir, copyName(d.Serial()))
		if _, err := os.Stat(path); err == nil {
			continue
		}
		b, err := d.Network().Encode()
		if err != nil {
			return err
		}
		if err := ReplaceFile(path, b); err != nil {
			return err
		}
	}
	names, err := f.copies()
	if err != nil {
		return err
	}
	for _, name := range names {
		if serial, ok := serialOf(name); ok && !matter[serial] {
			if err := os.Remove(filepath.Join(f.dir, name)); err != nil {
				return fmt.Errorf("node: %w", err)
			}
		}
	}
	return nil
}

// ReplaceFile writes a file in one step that a crash leaves done or undone.
func ReplaceFile(path string, b []byte) error {
	next, err := writeBeside(path, b)
	if err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("node: %w", errors.Join(err, os.Remove(next)))
	}
	return syncDir(filepath.Dir(path))
}

// writeBeside writes what is to take a file's place, under a name of its own.
func writeBeside(path string, b []byte) (next string, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", fmt.Errorf("node: %w", err)
	}
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Chmod(0o600), tmp.Sync(), tmp.Close()); err != nil {
		return "", fmt.Errorf("node: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return tmp.Name(), nil
}

// syncDir makes a renaming last. Windows knows no such thing.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return nil
}
