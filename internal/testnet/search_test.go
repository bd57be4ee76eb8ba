package testnet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// needleMin is the shortest needle: shorter ones turn up by chance.
const needleMin = 8

// searcher looks for many needles in one pass.
type searcher struct {
	first   []uint64 // a bit for each three bytes that a needle begins with
	byHead  map[uint64][]needle
	longest int
}

func newSearcher(needles []needle) *searcher {
	s := &searcher{first: make([]uint64, 1<<24/64), byHead: map[uint64][]needle{}}
	for _, n := range needles {
		if len(n.bytes) < needleMin {
			panic("testnet: a needle is too short: " + n.what)
		}
		h := threeBytes(n.bytes)
		s.first[h/64] |= 1 << (h % 64)
		head := binary.BigEndian.Uint64(n.bytes)
		s.byHead[head] = append(s.byHead[head], n)
		s.longest = max(s.longest, len(n.bytes))
	}
	return s
}

func threeBytes(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }

// find adds what it finds to found. It reads gigabytes that nobody else has: the
// race detector would take minutes over them.
//
//go:norace
func (s *searcher) find(b []byte, found map[string]bool) {
	h := uint32(1<<24 - 1) // the last three bytes
	for i := 0; i < len(b); i++ {
		h = (h<<8 | uint32(b[i])) & (1<<24 - 1)
		if h == 0 && i%len(zeros) == 0 && bytes.HasPrefix(b[i:], zeros[:]) {
			i += len(zeros) - 1
		} else if s.first[h/64]&(1<<(h%64)) != 0 && i >= 2 {
			s.compare(b[i-2:], found)
		}
	}
}

// zeros are skipped together: much of memory is nothing else.
var zeros [512]byte

// compare adds the needles that b begins with.
func (s *searcher) compare(b []byte, found map[string]bool) {
	if len(b) < needleMin {
		return
	}
	for _, n := range s.byHead[binary.BigEndian.Uint64(b)] {
		if bytes.HasPrefix(b, n.bytes) {
			found[n.what] = true
		}
	}
}

// files searches every file below dir.
func (s *searcher) files(t *testing.T, dir string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		s.find(b, found)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func addressName(b box) string { return "address of " + b.what }

// addresses are the boxes' addresses as needles, raw and written down.
func addresses(boxes []box) (raw, written []needle) {
	for _, b := range boxes {
		all := forms(addressName(b), b.addr[:])
		raw, written = append(raw, all[0]), append(written, all[1:]...)
	}
	return raw, written
}

// TestSearcherFinds: a search that finds nothing has been shown to search.
func TestSearcherFinds(t *testing.T) {
	s := newSearcher([]needle{{"one", []byte("needle one")}, {"two", []byte("needle two, longer")}, {"three", []byte("absent needle")}})
	for _, hay := range []string{"needle oneneedle two, longer", "xxneedle two, longer..needle one", "needleneedle oneedle one needle two, longer", string(zeros[:]) + string(zeros[:9]) + "needle one" + string(zeros[:511]) + "needle two, longer" + string(zeros[:])} {
		found := map[string]bool{}
		s.find([]byte(hay), found)
		if fmt.Sprint(found) != "map[one:true two:true]" {
			t.Errorf("in %q: %v", hay, found)
		}
	}
}
