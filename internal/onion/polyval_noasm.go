//go:build (!amd64 && !arm64) || purego

package onion

const havePolyval = false

// polyvalTable is empty where there is no assembly; nothing calls its methods.
type polyvalTable struct{}

func (*polyvalTable) initShort(fieldElement) {}

func (*polyvalTable) init(fieldElement) {}

func (*polyvalTable) blocks(acc fieldElement, _ []byte) fieldElement { return acc }
