package identity

import (
	"errors"
	"strings"
)

// Bech32m (BIP-350): a checksum over GF(32) that finds any four wrong
// characters of a string this long.
const (
	bech32Charset  = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	bech32mConst   = 0x2bc830a3
	bech32Checksum = 6 // characters
)

var (
	errMixedCase = errors.New("it mixes small and capital letters")
	errCharacter = errors.New("it holds a character that no ID has")
	errChecksum  = errors.New("its checksum is wrong: a character was mistyped or left out")
	errPadding   = errors.New("its last bits are not zero")
)

func bech32Polymod(values []byte) uint32 {
	gen := [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3}
	chk := uint32(1)
	for _, v := range values {
		top := chk >> 25
		chk = (chk&0x1ffffff)<<5 ^ uint32(v)
		for i, g := range gen {
			if top>>i&1 == 1 {
				chk ^= g
			}
		}
	}
	return chk
}

func bech32ExpandPrefix(hrp string) []byte {
	out := make([]byte, 0, 2*len(hrp)+1)
	for i := range len(hrp) {
		out = append(out, hrp[i]>>5)
	}
	out = append(out, 0)
	for i := range len(hrp) {
		out = append(out, hrp[i]&31)
	}
	return out
}

// bech32Encode writes data behind hrp.
func bech32Encode(hrp string, data []byte) string {
	values := regroup8to5(data)
	check := append(bech32ExpandPrefix(hrp), values...)
	check = append(check, make([]byte, bech32Checksum)...)
	sum := bech32Polymod(check) ^ bech32mConst
	for i := range bech32Checksum {
		values = append(values, byte(sum>>(5*(bech32Checksum-1-i)))&31)
	}
	var out strings.Builder
	out.WriteString(hrp + "1")
	for _, v := range values {
		out.WriteByte(bech32Charset[v])
	}
	return out.String()
}

// bech32Decode reads the part of an encoding behind hrp and its "1", in one
// case only. Its errors are written for people.
func bech32Decode(hrp, text string) ([]byte, error) {
	if strings.ToLower(text) != text && strings.ToUpper(text) != text {
		return nil, errMixedCase
	}
	text = strings.ToLower(text)
	values := make([]byte, len(text))
	for i := range len(text) {
		v := strings.IndexByte(bech32Charset, text[i])
		if v < 0 {
			return nil, errCharacter
		}
		values[i] = byte(v)
	}
	if len(values) < bech32Checksum || bech32Polymod(append(bech32ExpandPrefix(hrp), values...)) != bech32mConst {
		return nil, errChecksum
	}
	return regroup5to8(values[:len(values)-bech32Checksum])
}

func regroup8to5(in []byte) []byte {
	var out []byte
	var acc, bits uint
	for _, b := range in {
		acc, bits = acc<<8|uint(b), bits+8
		for bits >= 5 {
			bits -= 5
			out = append(out, byte(acc>>bits)&31)
		}
		acc &= 1<<bits - 1
	}
	if bits > 0 {
		out = append(out, byte(acc<<(5-bits))&31)
	}
	return out
}

func regroup5to8(in []byte) ([]byte, error) {
	var out []byte
	var acc, bits uint
	for _, v := range in {
		acc, bits = acc<<5|uint(v), bits+5
		if bits >= 8 {
			bits -= 8
			out = append(out, byte(acc>>bits))
		}
		acc &= 1<<bits - 1
	}
	if bits >= 5 || acc != 0 {
		return nil, errPadding
	}
	return out, nil
}
