package vault

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRowsComeBack(t *testing.T) {
	dir := t.TempDir()
	account := Account{Name: "me", Seed: []byte("seed"), Device: [16]byte{1}, Network: []byte("{}")}
	contact := Contact{ID: [32]byte{2}, State: ContactRequest, Name: "them", Created: 3, Counter: 4}
	conv := Conversation{ID: [32]byte{5}, Peer: contact.ID, Created: 6, Initiator: true, Base: [32]byte{7}, Device: [16]byte{8}, ReadPeriod: 9, Secret: []byte("s")}
	period := Period{Period: 10, Secrets: []byte("p"), CardUntil: 11, DoorUntil: 12}
	entry := Entry{Kind: OutboxMessage, Message: [16]byte{13}, Conversation: conv.ID, Period: 14, Expiry: 15, Created: 16, Attempts: 17, Next: 18, Envelope: []byte("e")}
	receipt := Receipt{Peer: contact.ID, Message: [16]byte{19}, Kind: ReceiptDelivered, Due: 20}
	tomb := Tombstone{Owner: conv.ID, Period: 21, Digest: [32]byte{22}, Expiry: 23}
	v := newVault(t, dir, func(tx *Tx) error { return tx.SetAccount(account) })
	update(t, v, func(tx *Tx) error {
		return errors.Join(tx.SetContact(contact), tx.SetConversation(conv), tx.SetPeriod(period), tx.SetSession(conv.ID, conv.Device, []byte("r")),
			tx.AddEntry(&entry), tx.AddReceipt(receipt), tx.AddTombstone(tomb), tx.SetCursor([32]byte{1}, [32]byte{2}, []byte("c"), 99), tx.SetOpened([32]byte{3}, 50))
	})
	v.Close()
	v = reopen(t, dir)
	view(t, v, func(tx *Tx) error {
		check := func(what string, got any, err error, want any) {
			t.Helper()
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		a, err := tx.Account()
		check("account", a, err, account)
		c, err := tx.Contact(contact.ID)
		check("contact", c, err, contact)
		cv, err := tx.SendingConversation(contact.ID)
		check("conversation", cv, err, conv)
		ps, err := tx.Periods(0)
		check("periods", ps, err, []Period{period})
		s, err := tx.Session(conv.ID, conv.Device)
		check("session", s, err, []byte("r"))
		e, err := tx.Entry(entry.Seq)
		check("outbox", e, err, entry)
		head := entry
		head.Envelope = nil
		es, err := tx.Entries(0, 10)
		check("outbox's heads", es, err, []Entry{head})
		rs, err := tx.Receipts(contact.ID, 10)
		check("receipts", rs, err, []Receipt{receipt})
		boxes, err := tx.TombstoneBoxes()
		check("mailboxes to delete from", boxes, err, []TombstoneBox{{tomb.Owner, tomb.Period}})
		ts, err := tx.Tombstones(TombstoneBox{tomb.Owner, tomb.Period}, 10)
		check("tombstones", ts, err, []Tombstone{tomb})
		cur, err := tx.Cursor([32]byte{1}, [32]byte{2})
		check("cursor", cur, err, []byte("c"))
		until, err := tx.OpenedUntil([32]byte{3})
		check("opened", until, err, uint64(50))
		_, err = tx.Message([16]byte{1})
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("missing message: %v", err)
		}
		return nil
	})
	update(t, v, func(tx *Tx) error { return tx.DeleteConversation(conv.ID) })
	view(t, v, func(tx *Tx) error {
		if n, _ := tx.CountEntries(); n != 0 {
			t.Error("entries outlive their conversation")
		}
		return nil
	})
}

func TestLateMessagesTakeTheirPlace(t *testing.T) {
	v := newVault(t, t.TempDir(), nil)
	peer, device := [32]byte{1}, [16]byte{2}
	update(t, v, func(tx *Tx) error {
		if err := tx.SetContact(Contact{ID: peer, State: ContactAccepted}); err != nil {
			return err
		}
		for i, counter := range []uint64{1, 5, 0, 6, 3, 4, 2} { // 0: one of ours in between
			m := Message{ID: [16]byte{byte(i + 1)}, Peer: peer, Device: device, Counter: counter, Outgoing: counter == 0}
			if m.Outgoing {
				m.Counter, m.Device = 1, [16]byte{}
			}
			if err := tx.AddMessage(&m); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, v, func(tx *Tx) error {
		all, err := tx.LastMessages(peer, nil, 10)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, m := range all {
			if m.Outgoing {
				got = append(got, 0)
			} else {
				got = append(got, m.Counter)
			}
		}
		if diff := cmp.Diff([]uint64{1, 2, 3, 4, 5, 0, 6}, got); diff != "" {
			t.Error(diff)
		}
		page, err := tx.LastMessages(peer, &all[4], 2)
		if err != nil || len(page) != 2 || page[0].Counter != 3 || page[1].Counter != 4 {
			t.Errorf("page before: %v, %v", page, err)
		}
		return nil
	})
}

func TestMarkIsOnce(t *testing.T) {
	v := newVault(t, t.TempDir(), nil)
	update(t, v, func(tx *Tx) error {
		for i, want := range []bool{true, false} {
			if fresh, err := tx.Mark([32]byte{1}, 10); err != nil || fresh != want {
				t.Errorf("mark %d: %v, %v", i, fresh, err)
			}
		}
		if err := tx.Expire(11); err != nil {
			t.Error(err)
		}
		if fresh, err := tx.Mark([32]byte{1}, 20); err != nil || !fresh {
			t.Errorf("after expiry: %v, %v", fresh, err)
		}
		return nil
	})
}
