//go:build !chaos

package client

import "testing"

// TestNormalBuildsTakeTheirTime: only builds with the tag chaos delete without
// the delays of spec/client.md §5.8.
func TestNormalBuildsTakeTheirTime(t *testing.T) {
	app, err := OpenProfile(ProfileConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close()
	if *app.cfg.timing != defaultTiming {
		t.Errorf("a client's timing is %+v, not the documented one", *app.cfg.timing)
	}
}
