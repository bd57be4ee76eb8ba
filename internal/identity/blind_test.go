package identity

import (
	"encoding/hex"
	"errors"
	"testing"

	"filippo.io/edwards25519"

	"sotto/internal/suite"
)

func key(t *testing.T, s string) suite.VerifyKey {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != suite.VerifyKeySize {
		t.Fatalf("%q is not a key", s)
	}
	return suite.VerifyKey(b)
}

// All points of low order, and encodings of them and others that are not
// canonical (RFC 8032 §5.1.3 leaves them to the implementation).
var badKeys = map[string]string{
	"identity":               "0100000000000000000000000000000000000000000000000000000000000000",
	"order 2":                "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"order 4":                "0000000000000000000000000000000000000000000000000000000000000000",
	"order 4, negative":      "0000000000000000000000000000000000000000000000000000000000000080",
	"order 8":                "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"order 8, negative":      "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"order 8, other":         "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"identity, y above p":    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"identity, negative x":   "0100000000000000000000000000000000000000000000000000000000000080",
	"order 4, y equal to p":  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"not a point":            "0200000000000000000000000000000000000000000000000000000000000000",
	"all ones":               "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"order 2, negative zero": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

func TestBlindPublicRefusesBadKeys(t *testing.T) {
	for name, s := range badKeys {
		if _, err := BlindPublic(key(t, s), testLabel, nil); !errors.Is(err, ErrKey) {
			t.Errorf("%s: got %v, want ErrKey", name, err)
		}
	}
}

// A good key plus a point of low order is another key under which the same
// signatures may verify; blinding must not take it.
func TestBlindPublicRefusesTorsion(t *testing.T) {
	pub := testPersona("a").Root().Public()
	good, err := edwards25519.NewIdentityPoint().SetBytes(pub[:])
	if err != nil {
		t.Fatal(err)
	}
	eighth := key(t, badKeys["order 8"])
	low, err := edwards25519.NewIdentityPoint().SetBytes(eighth[:])
	if err != nil {
		t.Fatal(err)
	}
	p := edwards25519.NewIdentityPoint().Set(good)
	for i := range 8 {
		_, err := BlindPublic(suite.VerifyKey(p.Bytes()), testLabel, nil)
		if i == 0 && err != nil {
			t.Fatalf("good key: %v", err)
		}
		if i > 0 && !errors.Is(err, ErrKey) {
			t.Errorf("with %d/8 of torsion: got %v, want ErrKey", i, err)
		}
		p.Add(p, low)
	}
}

// A blinded key expands like RFC 8032's: blinding by nothing but the seed's
// own expansion gives the standard library's public key.
func TestBlindableKeyIsAnEd25519Key(t *testing.T) {
	seed := suite.Derive([]byte("x"), testLabel, suite.SigningSeedSize)
	std, err := suite.SigningKeyFrom(seed)
	if err != nil {
		t.Fatal(err)
	}
	if newBlindableKey(seed).Public() != std.Public() {
		t.Fatal("public keys differ")
	}
}
