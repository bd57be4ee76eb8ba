package client

import (
	"encoding/gob"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// joinRecord is what is left of a world when it is over: what nodes saw and
// stored, of which the joiner gets the part of two, and the truth.
type joinRecord struct {
	Swarms   []uint16 // of each node
	Span     int64    // milliseconds
	Sights   []sight
	Circuits []circuitSight
	Streams  []streamSight
	Bursts   []cellSight
	Sizes    map[int32][4]int
	Words    map[int32]*words
	Twins    map[[2]int32]int // windows of bytes that two mailboxes share and few others have
	Truth    map[int32]joinTruth
}

func (w *joinWorld) record() *joinRecord {
	l := w.log
	r := &joinRecord{
		Span: l.now(), Sights: l.sights, Circuits: l.circuits, Streams: l.streams, Bursts: l.bursts,
		Sizes: l.sizes, Words: l.words, Twins: l.pairs(), Truth: w.truth,
	}
	for _, id := range w.swarm.order {
		n, _ := w.swarm.dir.Node(id)
		r.Swarms = append(r.Swarms, uint16(n.Swarm))
	}
	return r
}

// pairs finds bytes that stand in two mailboxes and hardly anywhere else, in
// all that is stored anywhere.
func (l *joinLog) pairs() map[[2]int32]int {
	out := map[[2]int32]int{}
	for h, list := range l.twins {
		if list = append(slices.Clone(list), l.first[h]); len(list) > commonWindow {
			continue
		}
		for i, a := range list {
			for _, b := range list[i+1:] {
				out[[2]int32{min(a, b), max(a, b)}]++
			}
		}
	}
	return out
}

func (w *joinRecord) wordsOf(box int32) *words {
	if said := w.Words[box]; said != nil {
		return said
	}
	return &words{}
}

// save keeps a world for joiners of another time.
func (w *joinRecord) save(t testing.TB, dir, name string) {
	f, err := os.Create(filepath.Join(dir, name))
	if err == nil {
		err = gob.NewEncoder(f).Encode(w)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func loadRecord(t testing.TB, dir, name string) *joinRecord {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &joinRecord{}
	if err := gob.NewDecoder(f).Decode(w); err != nil {
		t.Fatal(err)
	}
	return w
}
