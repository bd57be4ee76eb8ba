//go:build race

package main

// raced says that memory is several times what it is without the detector.
const raced = true
