package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// passphraseEnv is the environment variable that holds the passphrase when
// neither a file nor a terminal gives it.
const passphraseEnv = "SOTTO_PASSPHRASE"

// maxPassphrase bounds what is read from a file, in bytes.
const maxPassphrase = 4 << 10

var errNoPassphrase = errors.New("no passphrase: give --passphrase-file FILE or " + passphraseEnv + ", or run in a terminal")

// passphrase returns the vault's passphrase: from --passphrase-file, from the
// environment, or asked for. A new one is asked for twice.
func (o *options) passphrase(isNew bool) (string, error) {
	if given, ok, err := o.givenPassphrase(); ok || err != nil {
		return given, err
	}
	in, ok := o.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", usageError{errNoPassphrase}
	}
	first, err := o.ask(in, "Passphrase: ")
	if err != nil || !isNew {
		return first, err
	}
	second, err := o.ask(in, "Passphrase again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passphrases differ; nothing was changed")
	}
	return first, nil
}

// givenPassphrase returns the passphrase that was given without asking.
func (o *options) givenPassphrase() (string, bool, error) {
	if o.passphraseFile != "" {
		p, err := readFirstLine(o.passphraseFile)
		return p, err == nil, err
	}
	p, ok := os.LookupEnv(passphraseEnv)
	return p, ok && p != "", nil
}

func (o *options) ask(in *os.File, prompt string) (string, error) {
	fmt.Fprint(o.err, prompt)
	b, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(o.err)
	if err != nil {
		return "", fmt.Errorf("reading the passphrase: %w", err)
	}
	return string(b), nil
}

func readFirstLine(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("passphrase file: %w", err)
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, maxPassphrase)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("passphrase file: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", fmt.Errorf("passphrase file %s: its first line is empty", path)
	}
	return line, nil
}
