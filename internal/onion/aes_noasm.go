//go:build !amd64 || purego

package onion

const haveAES = false

// aesSchedule is empty where there is no assembly; nothing calls its methods.
type aesSchedule struct{}

func (*aesSchedule) init([]byte) {}

func (*aesSchedule) encrypt([]byte) {}

func (*aesSchedule) decrypt([]byte) {}

func (*aesSchedule) xorStream(*fieldElement, []byte) {}
