package suite

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const testLabel Label = LabelPrefix + "test"

func TestHashSeparatesParts(t *testing.T) {
	a := Hash(testLabel, []byte("ab"), []byte("c"))
	for name, b := range map[string][HashSize]byte{
		"moved boundary": Hash(testLabel, []byte("a"), []byte("bc")),
		"one part":       Hash(testLabel, []byte("abc")),
		"empty part":     Hash(testLabel, []byte("ab"), []byte("c"), nil),
		"other label":    Hash(testLabel+"2", []byte("ab"), []byte("c")),
	} {
		if a == b {
			t.Errorf("%s: same hash", name)
		}
	}
}

func TestSealOpen(t *testing.T) {
	key, err := NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := SealRandom(rand.Reader, key, []byte("plain"), []byte("ad"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenRandom(key, sealed, []byte("ad")); err != nil || string(got) != "plain" {
		t.Fatalf("got %q, %v", got, err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := OpenRandom(key, bad, []byte("ad")); !errors.Is(err, ErrOpen) {
			t.Fatalf("byte %d changed: got %v, want ErrOpen", i, err)
		}
	}
	if _, err := OpenRandom(key, sealed, nil); !errors.Is(err, ErrOpen) {
		t.Error("other additional data accepted")
	}
	if _, err := OpenRandom(key, sealed[:20], nil); !errors.Is(err, ErrOpen) {
		t.Error("short ciphertext accepted")
	}
}

func TestSignaturesAreBoundToTheirLabel(t *testing.T) {
	k, err := NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sig := k.Sign(testLabel, []byte("m"))
	if !k.Public().Verify(testLabel, []byte("m"), sig) {
		t.Fatal("own signature refused")
	}
	if k.Public().Verify(testLabel+"2", []byte("m"), sig) || k.Public().Verify(testLabel, []byte("n"), sig) {
		t.Fatal("signature accepted for another label or message")
	}
}

func TestSharedRefusesLowOrder(t *testing.T) {
	k, err := NewDHPrivate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Shared(DHPublic{}); !errors.Is(err, ErrLowOrder) {
		t.Fatalf("got %v, want ErrLowOrder", err)
	}
}

func TestPrivateKeysSurviveStoring(t *testing.T) {
	kem, err := NewKEMPrivate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ss, ct, err := kem.Public().Encapsulate()
	if err != nil {
		t.Fatal(err)
	}
	again, err := KEMPrivateFrom(kem.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Decapsulate(ct); err != nil || !bytes.Equal(got, ss) {
		t.Fatalf("stored key decapsulates differently: %v", err)
	}
}

func TestSecretsDoNotFormat(t *testing.T) {
	key, _ := KeyFrom(bytes.Repeat([]byte{0xab}, KeySize))
	dh, _ := DHPrivateFrom(bytes.Repeat([]byte{0xab}, DHSize))
	sk, _ := SigningKeyFrom(bytes.Repeat([]byte{0xab}, SigningSeedSize))
	kem, _ := KEMPrivateFrom(bytes.Repeat([]byte{0xab}, KEMSeedSize))
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		out := fmt.Sprintf(strings.Repeat(format+" ", 4), key, dh, sk, kem)
		if strings.Contains(out, "abab") || strings.Contains(out, "171 171") || strings.Contains(out, "0xab") {
			t.Errorf("%s shows key bytes: %s", format, out)
		}
	}
}

// RFC 4231, test case 1 has a shorter key; these bytes were computed with
// another implementation over a key of 32 times 0x0b and the message "Hi There".
func TestPRF(t *testing.T) {
	key, _ := KeyFrom(bytes.Repeat([]byte{0x0b}, KeySize))
	const want = "198a607eb44bfbc69903a0f1cf2bbdc5ba0aa3f3d9ae3c1c7a3b1696a0b68cf7"
	if got := fmt.Sprintf("%x", PRF(key, "Hi There").Bytes()); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}
