package chaos

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// needleSize is how many bytes of an envelope are looked for: as ciphertext
	// they occur nowhere else.
	needleSize = 16
	// searchBuffer is how much of a file is read at a time.
	searchBuffer = 1 << 20
)

// needleOffsets are where an envelope's needles begin. One of them is found also
// if a boundary of the engine's blocks runs through another.
var needleOffsets = []int{64, 1500, 3000}

// needles are bytes that files may or may not hold.
type needles struct {
	begin [1 << 16]bool // by the first two bytes, so that most places cost nothing
	of    map[[needleSize]byte]int
	names int
}

func newNeedles() *needles { return &needles{of: make(map[[needleSize]byte]int)} }

// add looks for an envelope, and returns the number that a search gives it.
func (n *needles) add(envelope []byte) int {
	for _, at := range needleOffsets {
		key := [needleSize]byte(envelope[at:])
		n.begin[int(key[0])<<8|int(key[1])] = true
		n.of[key] = n.names
	}
	n.names++
	return n.names - 1
}

// search returns which of the envelopes any file below dir holds a part of.
func (n *needles) search(dir string) (map[int]bool, error) {
	found := make(map[int]bool)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the engine removed it meanwhile
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(n.read(f, found), f.Close())
	})
	return found, err
}

func (n *needles) read(r io.Reader, found map[int]bool) error {
	b := bufio.NewReaderSize(r, searchBuffer)
	for {
		window, err := b.Peek(searchBuffer)
		for i := 0; i+needleSize <= len(window); i++ {
			if !n.begin[int(window[i])<<8|int(window[i+1])] {
				continue
			}
			if name, ok := n.of[[needleSize]byte(window[i:])]; ok {
				found[name] = true
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := b.Discard(len(window) - needleSize + 1); err != nil {
			return err
		}
	}
}
