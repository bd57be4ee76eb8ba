package vault

import "fmt"

// migrations brings a database from any earlier version to the present one:
// entry n makes version n+1 of version n. Entries are never changed once a
// release has them (spec/vault.md §5.3).
var migrations = []string{
	`CREATE TABLE settings(
		key TEXT PRIMARY KEY,
		value BLOB NOT NULL
	) STRICT, WITHOUT ROWID;
	CREATE TABLE periods(
		persona INTEGER NOT NULL,
		period INTEGER NOT NULL,
		secrets BLOB NOT NULL,
		card_until INTEGER NOT NULL DEFAULT 0,
		door_until INTEGER NOT NULL DEFAULT 0,
		PRIMARY KEY(persona, period)
	) STRICT, WITHOUT ROWID;
	CREATE TABLE contacts(
		id BLOB PRIMARY KEY,
		persona INTEGER NOT NULL DEFAULT 0,
		state INTEGER NOT NULL,
		name BLOB NOT NULL,
		created INTEGER NOT NULL,
		counter INTEGER NOT NULL DEFAULT 0
	) STRICT, WITHOUT ROWID;
	CREATE TABLE conversations(
		id BLOB PRIMARY KEY,
		peer BLOB NOT NULL REFERENCES contacts(id) ON DELETE CASCADE,
		created INTEGER NOT NULL,
		initiator INTEGER NOT NULL,
		base BLOB NOT NULL,
		device BLOB NOT NULL,
		read_period INTEGER NOT NULL,
		secret BLOB NOT NULL
	) STRICT, WITHOUT ROWID;
	CREATE INDEX conversations_peer ON conversations(peer, created, id);
	CREATE TABLE sessions(
		conversation BLOB NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
		device BLOB NOT NULL,
		state BLOB NOT NULL,
		PRIMARY KEY(conversation, device)
	) STRICT, WITHOUT ROWID;
	CREATE TABLE messages(
		seq INTEGER PRIMARY KEY AUTOINCREMENT,
		id BLOB NOT NULL UNIQUE,
		remote BLOB NOT NULL,
		peer BLOB NOT NULL REFERENCES contacts(id) ON DELETE CASCADE,
		outgoing INTEGER NOT NULL,
		state INTEGER NOT NULL,
		reason TEXT NOT NULL DEFAULT '',
		sent INTEGER NOT NULL,
		received INTEGER NOT NULL,
		pos INTEGER NOT NULL,
		device BLOB NOT NULL,
		counter INTEGER NOT NULL,
		seen INTEGER NOT NULL DEFAULT 0,
		taken INTEGER NOT NULL DEFAULT 0,
		body BLOB NOT NULL
	) STRICT;
	CREATE INDEX messages_order ON messages(peer, pos, counter, seq);
	CREATE INDEX messages_stream ON messages(peer, device, counter) WHERE outgoing = 0;
	CREATE INDEX messages_unseen ON messages(peer) WHERE outgoing = 0 AND seen = 0;
	CREATE INDEX messages_untaken ON messages(seq) WHERE outgoing = 0 AND taken = 0;
	CREATE INDEX messages_queued ON messages(peer, seq) WHERE outgoing = 1 AND state = 1;
	CREATE TABLE outbox(
		seq INTEGER PRIMARY KEY AUTOINCREMENT,
		kind INTEGER NOT NULL,
		message BLOB NOT NULL,
		conversation BLOB NOT NULL REFERENCES conversations(id) ON DELETE CASCADE,
		period INTEGER NOT NULL,
		expiry INTEGER NOT NULL,
		created INTEGER NOT NULL,
		attempts INTEGER NOT NULL DEFAULT 0,
		next INTEGER NOT NULL,
		envelope BLOB NOT NULL
	) STRICT;
	CREATE INDEX outbox_message ON outbox(message);
	CREATE TABLE receipts(
		peer BLOB NOT NULL REFERENCES contacts(id) ON DELETE CASCADE,
		message BLOB NOT NULL,
		kind INTEGER NOT NULL,
		due INTEGER NOT NULL,
		PRIMARY KEY(peer, message)
	) STRICT, WITHOUT ROWID;
	CREATE TABLE tombstones(
		owner BLOB NOT NULL,
		period INTEGER NOT NULL,
		digest BLOB NOT NULL,
		expiry INTEGER NOT NULL,
		PRIMARY KEY(owner, period, digest)
	) STRICT, WITHOUT ROWID;
	CREATE TABLE cursors(
		address BLOB NOT NULL,
		node BLOB NOT NULL,
		cursor BLOB NOT NULL,
		expiry INTEGER NOT NULL,
		PRIMARY KEY(address, node)
	) STRICT, WITHOUT ROWID;
	CREATE TABLE seen(
		digest BLOB PRIMARY KEY,
		expiry INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;
	CREATE TABLE opened(
		address BLOB PRIMARY KEY,
		expiry INTEGER NOT NULL
	) STRICT, WITHOUT ROWID;`,
}

// migrate runs what the database lacks, each step with its version number in
// one transaction.
func (v *Vault) migrate() error {
	version := 0
	err := v.guard(func() error {
		stmt, _, err := v.db.Prepare("PRAGMA user_version")
		if err != nil {
			return err
		}
		defer stmt.Close()
		if stmt.Step() {
			version = stmt.ColumnInt(0)
		}
		return stmt.Err()
	})
	if err != nil {
		return fmt.Errorf("vault: open: %w", err)
	}
	if version > len(migrations) {
		return fmt.Errorf("%w: schema %d, this program knows %d", ErrVersion, version, len(migrations))
	}
	for n := version; n < len(migrations); n++ {
		sql := fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA user_version=%d; COMMIT", migrations[n], n+1)
		if err := v.guard(func() error { return v.db.Exec(sql) }); err != nil {
			return fmt.Errorf("vault: migrate to schema %d: %w", n+1, err)
		}
	}
	return nil
}
