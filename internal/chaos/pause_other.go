//go:build !unix

package chaos

import "os"

// pauseSignal is not a thing of this system: whoever sends it gets an error.
func pauseSignal(bool) os.Signal { return os.Interrupt }
