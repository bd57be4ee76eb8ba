package vault

import (
	"errors"
	"runtime/debug"
	"time"

	"golang.org/x/crypto/argon2"

	"sotto/internal/suite"
)

// KDFParams is the cost of turning a passphrase into a key with Argon2id
// (spec/vault.md §4.2). The zero value calibrates to about a second.
type KDFParams struct {
	MemoryKiB uint32
	Passes    uint32
	Threads   uint8
}

const (
	// minMemoryKiB is the least memory that calibration chooses: what makes a
	// guess cost an attacker's hardware about as much as ours.
	minMemoryKiB = 64 << 10
	// maxCalibratedKiB keeps unlocking possible on a small machine.
	maxCalibratedKiB = 256 << 10
	// minPasses is RFC 9106's advice for 64 MiB.
	minPasses = 3
	// targetTime is how long unlocking may take on the machine that made the
	// vault; a person waits that long once a day without noticing.
	targetTime = time.Second

	// The most that a header may ask for, so that a damaged or foreign one
	// cannot exhaust the machine.
	maxMemoryKiB = 1 << 20
	maxPasses    = 10_000
	maxThreads   = 16
	// kdfThreads is what calibration uses: RFC 9106's choice, and what most
	// machines have.
	kdfThreads = 4
)

var errParams = errors.New("vault: key derivation parameters out of bounds")

func (p KDFParams) check() error {
	if p.MemoryKiB < 8*uint32(p.Threads) || p.MemoryKiB > maxMemoryKiB ||
		p.Passes < 1 || p.Passes > maxPasses || p.Threads < 1 || p.Threads > maxThreads {
		return errParams
	}
	return nil
}

// Calibrate measures this machine and returns parameters that take about
// target, and never less than 64 MiB and three passes.
func Calibrate(target time.Duration) KDFParams {
	p := KDFParams{MemoryKiB: minMemoryKiB, Passes: 1, Threads: kdfThreads}
	pass := measure(p)
	for p.MemoryKiB < maxCalibratedKiB && pass*2*minPasses <= target {
		p.MemoryKiB *= 2
		pass *= 2 // a pass touches every block once
	}
	p.Passes = minPasses
	if pass > 0 {
		p.Passes = max(minPasses, min(maxPasses, uint32(target/pass)))
	}
	return p
}

// measure returns the time of a pass. The least of several counts: whatever
// else the machine does at this moment must not make the vault cheaper for
// good.
func measure(p KDFParams) time.Duration {
	best := time.Duration(1<<63 - 1)
	for range 4 {
		start := time.Now()
		argon2.IDKey([]byte("calibration"), make([]byte, saltSize), p.Passes, p.MemoryKiB, p.Threads, suite.KeySize)
		best = min(best, time.Since(start))
	}
	return best
}

// stretch runs Argon2id. The memory is given back at once, because it would
// otherwise count as the idle client's for minutes.
func stretch(p KDFParams, passphrase, salt []byte) suite.Key {
	raw := argon2.IDKey(passphrase, salt, p.Passes, p.MemoryKiB, p.Threads, suite.KeySize)
	key := suite.DeriveKey(raw, labelWrap)
	clear(raw)
	if p.MemoryKiB >= minMemoryKiB {
		debug.FreeOSMemory()
	}
	return key
}
