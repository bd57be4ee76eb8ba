package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// options are the flags that every command shares, and its streams.
type options struct {
	profile        string
	json           bool
	passphraseFile string

	stdin    io.Reader
	out, err io.Writer
}

// profileDir returns the profile's directory, the default one if none is named.
func (o *options) profileDir() (string, error) {
	if o.profile != "" {
		return o.profile, nil
	}
	base, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no folder for profiles: %w (name one with --profile DIR)", err)
	}
	return filepath.Join(base, "sotto", "default"), nil
}

// print writes v as a JSON line with --json, and text otherwise.
func (o *options) print(v any, text string) error {
	if !o.json {
		_, err := fmt.Fprintln(o.out, text)
		return err
	}
	return json.NewEncoder(o.out).Encode(v)
}

// note tells a person at the terminal what goes on; scripts do not see it.
func (o *options) note(format string, a ...any) {
	if !o.json {
		fmt.Fprintf(o.err, format+"\n", a...)
	}
}
