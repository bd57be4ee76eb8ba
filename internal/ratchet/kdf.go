package ratchet

import "sotto/internal/suite"

// deriveKeys splits one derivation from the concatenated secrets into keys,
// and overwrites what it no longer needs.
func deriveKeys(label suite.Label, out []*suite.Key, info []byte, secrets ...[]byte) {
	var secret []byte
	for _, s := range secrets {
		secret = append(secret, s...)
	}
	okm := suite.Derive(secret, label, len(out)*suite.KeySize, info)
	for i, k := range out {
		*k, _ = suite.KeyFrom(okm[i*suite.KeySize : (i+1)*suite.KeySize]) // the size is right by the slicing
	}
	clear(secret)
	clear(okm)
}

// kdfRoot is KDF_RK of spec/session.md §5.4: a Diffie-Hellman result, and the
// secret of a post-quantum step where there is one, enter the root key.
func kdfRoot(root suite.Key, dh, pq []byte) (next, chain, header suite.Key) {
	rk := root.Bytes()
	deriveKeys(labelRoot, []*suite.Key{&next, &chain, &header}, nil, rk, dh, pq)
	clear(rk)
	return next, chain, header
}

// kdfChain is the step of a chain key, kdfMessage the message key at its place
// (spec/session.md §5.4). They are apart so that a jump over keys that nobody
// will keep pays for the first one only.
func kdfChain(chain suite.Key) suite.Key   { return suite.PRF(chain, labelChain) }
func kdfMessage(chain suite.Key) suite.Key { return suite.PRF(chain, labelMessage) }
