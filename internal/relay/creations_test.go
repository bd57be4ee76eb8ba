package relay

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"
)

func newCreations(max, maxWaiting int) *creations {
	return &creations{max: max, maxWaiting: maxWaiting, gauge: prometheus.NewGauge(prometheus.GaugeOpts{Name: "waiting"})}
}

// The one with the most effort is next, and of equal ones the oldest; when too
// many wait, the oldest of those with the least goes.
func TestCreationsByEffort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newCreations(1, 4)
		if err := q.enter(t.Context(), 0); err != nil {
			t.Fatal("nobody waits, and it is not its turn")
		}
		turns, busy := make(chan int, 16), make(chan int, 16)
		come := func(name int, effort uint8) {
			go func() {
				switch err := q.enter(t.Context(), effort); {
				case errors.Is(err, errBusy):
					busy <- name
				case err == nil:
					turns <- name
				}
			}()
			synctest.Wait()
		}
		come(1, 0)
		come(2, 0)
		come(3, 7)
		come(4, 9)
		come(5, 0)  // 1 goes
		come(6, 7)  // 2 goes
		come(7, 3)  // 5 goes
		come(8, 1)  // goes itself
		come(9, 99) // 7 goes
		var order, gone []int
		for range 4 {
			q.leave()
			order = append(order, <-turns)
		}
		q.leave()
		for len(busy) > 0 {
			gone = append(gone, <-busy)
		}
		if want := []int{9, 4, 3, 6}; !slices.Equal(order, want) {
			t.Errorf("turns %v, want %v", order, want)
		}
		if want := []int{1, 2, 5, 8, 7}; !slices.Equal(gone, want) {
			t.Errorf("refused %v, want %v", gone, want)
		}
		if q.running != 0 || len(q.waiting) != 0 {
			t.Errorf("%d run and %d wait at the end", q.running, len(q.waiting))
		}
	})
}

// Whoever comes and gives up, never more run than may, and nothing is left.
func TestCreationsKeepTheirBounds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit, room := rapid.IntRange(1, 3).Draw(rt, "max"), rapid.IntRange(1, 4).Draw(rt, "waiting")
		steps := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 60).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			q := newCreations(limit, room)
			running := 0
			type come struct {
				cancel context.CancelFunc
				err    chan error
			}
			var waiting []come
			settle := func() {
				synctest.Wait()
				waiting = slices.DeleteFunc(waiting, func(c come) bool {
					select {
					case err := <-c.err:
						if err == nil {
							running++
						}
						c.cancel()
						return true
					default:
						return false
					}
				})
				if running != q.running || running > limit || len(waiting) != len(q.waiting) || len(waiting) > room {
					t.Fatalf("%d run (%d by the queue's count), %d wait (%d)", running, q.running, len(waiting), len(q.waiting))
				}
			}
			for i, s := range steps {
				switch {
				case s == 0 && running > 0:
					running--
					q.leave()
				case s == 1 && len(waiting) > 0:
					waiting[i%len(waiting)].cancel()
				default:
					ctx, cancel := context.WithCancel(t.Context())
					c := come{cancel, make(chan error, 1)}
					go func() { c.err <- q.enter(ctx, uint8(s)) }()
					waiting = append(waiting, c)
				}
				settle()
			}
			for running > 0 {
				running--
				q.leave()
				settle()
			}
			if q.running != 0 || len(waiting) != 0 {
				t.Fatalf("%d run and %d wait at the end", q.running, len(waiting))
			}
		})
	})
}
