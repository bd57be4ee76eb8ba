// Package vault is the encrypted local store of one account: a SQLite database
// whose pages are encrypted by the Adiantum VFS, in which secrets and message
// bodies are sealed once more under a key of their own. It implements
// spec/vault.md.
//
// It keeps rows and knows no protocol: what a session or a period secret
// means is internal/client's, which hands them over as bytes.
package vault

// KDFParams is the cost of turning a passphrase into a key with Argon2id
// (spec/vault.md §4.2). The zero value calibrates to about a second.
type KDFParams struct {
	MemoryKiB uint32
	Time      uint32
	Threads   uint8
}
