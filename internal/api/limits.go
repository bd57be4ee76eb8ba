package api

import "time"

const (
	// maxBody bounds a request: the longest text of a message, 60 KiB, with each
	// byte escaped as \u00XX.
	maxBody = 512 << 10
	// maxAnswer bounds what a command reads from the daemon: a page of
	// messages, or what Take returns, of full length each.
	maxAnswer = 64 << 20
	// maxRefusal bounds a refusal: a code and a sentence.
	maxRefusal = 4096
	// maxPeer bounds an account ID or message ID in a path; an account ID has
	// fewer than 80 characters.
	maxPeer = 128
	// maxName and maxPassphrase bound what is passed on at all; the client and
	// the vault have closer limits of their own.
	maxName       = 256
	maxPassphrase = 1024
	// maxPhrase bounds 24 words of at most 8 letters with generous spaces.
	maxPhrase = 1024
	// defaultPage and maxPage bound a page of messages.
	defaultPage = 50
	maxPage     = 200
	// maxStreams bounds the event streams open at once: some tabs and commands.
	maxStreams = 32
	// maxHeader bounds a request's header; the app sends below 1 KiB.
	maxHeader = 16 << 10

	// headerTimeout ends a request that doesn't arrive; all come from this
	// machine.
	headerTimeout = 5 * time.Second
	// requestTimeout bounds a request from its first byte to the end of its
	// answer. The slowest one derives the vault's key on a slow machine. A
	// closer limit on the body alone would end the answer with it.
	requestTimeout = 60 * time.Second
	// heartbeat keeps an idle event stream visibly alive. The web app takes a
	// stream as dead after three of them.
	heartbeat = 10 * time.Second
	// streamWrite ends an event stream whose reader has stopped reading.
	streamWrite = 10 * time.Second
	// graceful is how long Serve waits for answers under way when it stops.
	graceful = 3 * time.Second
)
