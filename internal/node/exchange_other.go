//go:build !linux

package node

import "errors"

// exchange is not to be had here; who calls it renames instead.
func exchange(string, string) error { return errors.ErrUnsupported }
