package store

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// smallDisk names the folder in which the test's own child mounts a disk.
const smallDisk = "SOTTO_TEST_SMALL_DISK"

// TestSmallDisk fills a real file system of 48 MiB, in a mount namespace of its
// own, which needs no root where the system lets users have one.
func TestSmallDisk(t *testing.T) {
	if dir := os.Getenv(smallDisk); dir != "" {
		onSmallDisk(t, dir)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSmallDisk$", "-test.v")
	cmd.Env = append(os.Environ(), smallDisk+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Skipf("no namespaces here: %v", err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func onSmallDisk(t *testing.T, dir string) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		t.Skipf("no mount here: %v", err)
	}
	// No reserve to speak of, so that the engine itself meets the end.
	s, err := Open(filepath.Join(dir, "store"), Options{Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, a := context.Background(), address(1)
	grant(t, s, a, 1<<30)
	var kept []*Envelope
	for i := 0; ; i++ {
		e := envelope(a, i, 256<<10, farExpiry)
		if _, err := s.Put(ctx, e); err != nil {
			if errors.Is(err, ErrAway) {
				continue // the engine met the end by itself, and is being exchanged
			}
			if !errors.Is(err, ErrFull) {
				t.Fatalf("a full disk: %v", err)
			}
			break
		}
		kept = append(kept, e)
	}
	if len(kept) < 40 {
		t.Errorf("only %d envelopes fit", len(kept))
	}
	// Others make room: the store looks at intervals, and so does the test.
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=512m"); err != nil {
		t.Skipf("no remount here: %v", err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, err := s.Put(ctx, envelope(a, 10_000, 4096, farExpiry))
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a minute after there was room: %v", err)
		}
	}
	for _, e := range kept {
		if r, err := s.Record(KindEnvelope, a, e.Digest); err != nil || string(r.Bytes) != string(e.Bytes) {
			t.Fatalf("acknowledged on a disk that filled up, and lost: %v", err)
		}
	}
}
