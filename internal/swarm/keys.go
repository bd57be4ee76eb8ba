package swarm

import (
	"sync"
	"time"

	"sotto/internal/mailbox"
)

// requestKeys holds the keys that requests are sealed to: the current epoch's,
// and the one before it for a short grace. They are never stored.
type requestKeys struct {
	s *Swarm

	// mu guards keys, and their use against Erase.
	mu   sync.RWMutex
	keys []heldKey // at most two, the current one last
	gone bool
}

type heldKey struct {
	key   *mailbox.RequestKey
	epoch uint64
	until time.Time
}

// current returns the certificate of the epoch's key, making it when due.
func (k *requestKeys) current(now time.Time) (*mailbox.RequestKeyCert, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone {
		return nil, ErrClosed
	}
	dir := k.s.cfg.Directory.Current()
	epoch := dir.Epoch(now)
	k.eraseLocked(now)
	for _, h := range k.keys {
		if h.epoch == epoch {
			return h.key.Cert(), nil
		}
	}
	start, end := dir.EpochStart(epoch), dir.EpochStart(epoch+1)
	key, err := mailbox.NewRequestKey(k.s.cfg.Rand, k.s.cfg.Identity, epoch, start, end)
	if err != nil {
		return nil, err
	}
	k.keys = append(k.keys, heldKey{key, epoch, end.Add(keyGrace)})
	return key.Cert(), nil
}

// eraseLocked erases what is past its grace.
func (k *requestKeys) eraseLocked(now time.Time) {
	kept := k.keys[:0]
	for _, h := range k.keys {
		if now.Before(h.until) {
			kept = append(kept, h)
			continue
		}
		h.key.Erase()
	}
	clear(k.keys[len(kept):])
	k.keys = kept
}

// open opens a sealed request with whichever key it was sealed to.
func (k *requestKeys) open(frame []byte) (*mailbox.Received, *mailbox.ReplySealer, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	err := error(mailbox.ErrUnknownKey)
	for i := len(k.keys) - 1; i >= 0; i-- {
		got, sealer, openErr := k.keys[i].key.OpenRequest(frame)
		if openErr == nil {
			return got, sealer, nil
		}
		if mailbox.CodeOf(openErr) != mailbox.CodeUnknownKey {
			err = openErr
		}
	}
	return nil, nil, err
}

func (k *requestKeys) erase() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.keys {
		h.key.Erase()
	}
	k.keys, k.gone = nil, true
}
