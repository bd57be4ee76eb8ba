package vault

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"

	"sotto/internal/suite"
	"sotto/internal/wire"
)

const (
	headerVersion = 1
	kdfArgon2id   = 1
	saltSize      = 32
	wrappedSize   = suite.NonceSize + suite.KeySize + suite.TagSize
	checkSize     = suite.HashSize
	// headerSize is the sum of the fields of spec/vault.md §4.1.
	headerSize = 1 + 1 + 4 + 4 + 1 + saltSize + wrappedSize + checkSize
)

// newHeader draws a master key and wraps it (spec/vault.md §4.1).
func newHeader(rand io.Reader, p KDFParams, passphrase []byte) (suite.Key, []byte, error) {
	if err := p.check(); err != nil {
		return suite.Key{}, nil, err
	}
	var salt [saltSize]byte
	if _, err := io.ReadFull(rand, salt[:]); err != nil {
		return suite.Key{}, nil, err
	}
	master, err := suite.NewKey(rand)
	if err != nil {
		return suite.Key{}, nil, err
	}
	b := []byte{headerVersion, kdfArgon2id}
	b = wire.AppendUint32(b, p.MemoryKiB)
	b = wire.AppendUint32(b, p.Passes)
	b = append(b, p.Threads)
	b = append(b, salt[:]...)
	kek := stretch(p, passphrase, salt[:])
	defer kek.Erase()
	raw := master.Bytes()
	wrapped, err := suite.SealRandom(rand, kek, raw, b)
	clear(raw)
	if err != nil {
		return suite.Key{}, nil, err
	}
	b = append(b, wrapped...)
	check := suite.Hash(labelHeader, b)
	return master, append(b, check[:]...), nil
}

// openHeader is the inverse. The check at its end tells damage from a wrong
// passphrase: it is no protection against somebody who writes headers.
func openHeader(b, passphrase []byte) (suite.Key, error) {
	if len(b) > 0 && b[0] != headerVersion {
		return suite.Key{}, fmt.Errorf("%w: header version %d, this program knows %d", ErrVersion, b[0], headerVersion)
	}
	if len(b) != headerSize {
		return suite.Key{}, fmt.Errorf("%w: header of %d bytes, want %d", ErrDamaged, len(b), headerSize)
	}
	check := suite.Hash(labelHeader, b[:headerSize-checkSize])
	if subtle.ConstantTimeCompare(check[:], b[headerSize-checkSize:]) != 1 {
		return suite.Key{}, fmt.Errorf("%w: the header's check does not match", ErrDamaged)
	}
	r := wire.NewReader(b[1 : headerSize-checkSize])
	kdf := r.Uint8()
	p := KDFParams{MemoryKiB: r.Uint32(), Passes: r.Uint32(), Threads: r.Uint8()}
	salt, wrapped := r.Bytes(saltSize), r.Bytes(wrappedSize)
	if err := errors.Join(r.Finish(), p.check()); err != nil {
		return suite.Key{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if kdf != kdfArgon2id {
		return suite.Key{}, fmt.Errorf("%w: key derivation %d", ErrVersion, kdf)
	}
	kek := stretch(p, passphrase, salt)
	defer kek.Erase()
	raw, err := suite.OpenRandom(kek, wrapped, b[:headerSize-checkSize-wrappedSize])
	if err != nil {
		return suite.Key{}, ErrPassphrase
	}
	defer clear(raw)
	return suite.KeyFrom(raw)
}

func readHeader(opt Options, passphrase []byte) (suite.Key, error) {
	f, err := os.Open(opt.path(headerName))
	if err != nil {
		return suite.Key{}, fmt.Errorf("vault: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, headerSize+1))
	if err != nil {
		return suite.Key{}, fmt.Errorf("vault: %w", err)
	}
	return openHeader(b, passphrase)
}

// writeHeader puts the header in place at once: what makes the vault exist.
func writeHeader(opt Options, header []byte) error {
	tmp := opt.path(headerName + ".new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	_, err = f.Write(header)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	if err := os.Rename(tmp, opt.path(headerName)); err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	return syncDir(opt.Dir)
}
