package onion

import (
	"testing"

	"sotto/internal/identity"
	"sotto/internal/suite"
)

// torNtor is the handshake as Tor has it: the same code without the KEM.
func torNtor(verification string) *ntor {
	return &ntor{protoID: "ntor3-curve25519-sha3_256-1", verification: verification}
}

func dhKey(t testing.TB, b []byte) suite.DHPrivate {
	t.Helper()
	k, err := suite.DHPrivateFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestPublicNtorVector(t *testing.T) {
	var file struct {
		Vectors []struct {
			B             hexBytes `json:"relay_secret_b"`
			ID            hexBytes `json:"relay_id"`
			X             hexBytes `json:"client_secret_x"`
			Y             hexBytes `json:"relay_ephemeral_secret_y"`
			ClientMessage hexBytes `json:"client_message"`
			Verification  hexBytes
			ServerMessage hexBytes `json:"server_message"`
			Client        hexBytes `json:"client_handshake"`
			Server        hexBytes `json:"server_handshake"`
			Keys          hexBytes `json:"keys_256"`
		}
	}
	publicVectors(t, "ntor_v3.json", &file)
	for _, v := range file.Vectors {
		id, b := identity.NodeID(v.ID), dhKey(t, v.B)
		h := torNtor(string(v.Verification))
		client, skin, err := h.start(dhKey(t, v.X), suite.KEMPrivate{}, id, b.Public(), v.ClientMessage)
		if err != nil {
			t.Fatal(err)
		}
		equalBytes(t, "client handshake", skin, v.Client)
		server, message, err := h.receive(id, b, skin)
		if err != nil {
			t.Fatal(err)
		}
		equalBytes(t, "client message", message, v.ClientMessage)
		reply, stream, err := server.answer(dhKey(t, v.Y), v.ServerMessage, len(v.Keys))
		if err != nil {
			t.Fatal(err)
		}
		equalBytes(t, "server handshake", reply, v.Server)
		equalBytes(t, "relay's keys", stream, v.Keys)
		stream, message, err = client.finish(reply, len(v.Keys))
		if err != nil {
			t.Fatal(err)
		}
		equalBytes(t, "client's keys", stream, v.Keys)
		equalBytes(t, "server message", message, v.ServerMessage)
	}
}
