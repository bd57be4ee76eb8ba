package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sotto": main})
}

// TestScripts runs testdata/script/*.txtar: real processes of this program, as
// a person or a script would call them.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv(passphraseEnv, "seven horses in a row")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitline": waitLine,
			"jsonenv":  jsonEnv,
			"numbered": numbered,
		},
	})
}

// waitLine FILE TEXT waits until a line of FILE contains TEXT: a program in the
// background writes FILE as it goes.
func waitLine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitline FILE TEXT")
	}
	ts.Check(pollFile(ts.MkAbs(args[0]), args[1]))
}

// The bounds of waiting for another process: its output is a file, and a file
// has no event that every system offers.
const (
	filePoll    = 20 * time.Millisecond
	fileTimeout = 90 * time.Second
)

func pollFile(path, text string) error {
	tick := time.NewTicker(filePoll)
	defer tick.Stop()
	timeout := time.NewTimer(fileTimeout)
	defer timeout.Stop()
	for {
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if strings.Contains(string(b), text) {
			return nil
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			return fmt.Errorf("no %q in %s after %v; it holds:\n%s", text, filepath.Base(path), fileTimeout, b)
		}
	}
}

// jsonEnv NAME FIELD FILE sets NAME to FIELD of the first JSON line in FILE that
// has it.
func jsonEnv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: jsonenv NAME FIELD FILE")
	}
	for _, v := range jsonLines(ts, args[2]) {
		if s, ok := v[args[1]].(string); ok {
			ts.Setenv(args[0], s)
			return
		}
	}
	ts.Fatalf("no line of %s has a field %q", args[2], args[1])
}

// numbered FILE PREFIX N checks that the messages of FILE whose text begins with
// PREFIX are PREFIX-1 … PREFIX-N, each once and in order.
func numbered(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: numbered FILE PREFIX N")
	}
	var n int
	for _, v := range jsonLines(ts, args[0]) {
		text, _ := v["text"].(string)
		if v["type"] != "message" || !strings.HasPrefix(text, args[1]+"-") {
			continue
		}
		n++
		if want := fmt.Sprintf("%s-%d", args[1], n); text != want {
			ts.Fatalf("message %d is %q, want %q", n, text, want)
		}
	}
	if fmt.Sprint(n) != args[2] {
		ts.Fatalf("%d messages, want %s", n, args[2])
	}
}

func jsonLines(ts *testscript.TestScript, file string) []map[string]any {
	f, err := os.Open(ts.MkAbs(file))
	ts.Check(err)
	defer f.Close()
	var out []map[string]any
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var v map[string]any
		if json.Unmarshal(lines.Bytes(), &v) == nil {
			out = append(out, v)
		}
	}
	ts.Check(lines.Err())
	return out
}
