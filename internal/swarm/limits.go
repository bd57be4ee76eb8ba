package swarm

import (
	"time"

	"sotto/internal/mailbox"
)

// Limits (spec/swarm.md §3). Each bounds what strangers can make a node hold.
const (
	// maxStreams bounds all other streams, which hold a goroutine each, and
	// maxNodeStreams those of one node: as many as an exit opens for its clients
	// (MaxTargetStreams in spec/circuit.md), and some that are a node's own or
	// about to end.
	maxStreams     = 1 << 15
	maxNodeStreams = 4096 + 256
	// maxSubscriptions bounds subscriptions, of some 2.5 KB each.
	maxSubscriptions = 1 << 18
	// maxSubscribers bounds one mailbox's: 8 devices, and their reconnections.
	maxSubscribers = 16
	// maxRequests bounds requests in work, each with at most one envelope.
	maxRequests = 256
	// maxExitWork is what of them one exit may have: requests that take long
	// leave a quarter to the others.
	maxExitWork = maxRequests * 3 / 4
	// maxBoxWork is what of them one mailbox may have.
	maxBoxWork = maxRequests / 4
	// maxWaiting and maxWaitingBytes bound the requests that wait for a place.
	maxWaiting      = 1024
	maxWaitingBytes = 16 << 20
	// maxWait is how long one waits in a queue that has just arisen, and
	// standingWait in one that has stood for longer than standing: a burst is
	// worked off, and a load that stays is turned away while it is young.
	maxWait      = 500 * time.Millisecond
	standing     = 100 * time.Millisecond
	standingWait = 50 * time.Millisecond
	// costBytes is how many bytes of a request count as much as opening its seal.
	costBytes = 64 << 10
	// maxStreamRequests ends a stream that should long have been renewed.
	maxStreamRequests = 4096
	// maxRequestFrame holds the largest put with its seal.
	maxRequestFrame = mailbox.MaxEnvelope + 8<<10
	// maxUnanswered bounds what is read ahead of answers on a stream: a put of
	// the largest class behind another. Clients ask one thing at a time.
	maxUnanswered = 2 * maxRequestFrame
	// maxAhead bounds the same on all streams: as many as are in work, and as
	// much again.
	maxAhead = 2 * maxRequests * maxRequestFrame
	// exitShare is which part of these bytes, and of maxReplies, one exit may take.
	exitShare = 8
	// maxReplies bounds the answers that are being written on all streams: of one
	// exit, 32 of the largest that nobody takes.
	maxReplies = 256 << 20
	// sweepEvery is how often subscriptions are looked at whose streams may have
	// ended, and sweepStep how many at a time, while which no envelope is told.
	sweepEvery = 5 * time.Second
	sweepStep  = 1024
	// firstByte is how long a stream may take to say what it is for.
	firstByte = 10 * time.Second
	// streamIdle is how long a stream without subscription may say nothing.
	streamIdle = 2 * time.Minute
	// proveWithin is how long a challenge waits for its answer.
	proveWithin = 30 * time.Second
	// writeStall is how long a frame may take to leave: a subscriber or client
	// that takes nothing for so long is cut, and comes back with its cursor.
	writeStall = 30 * time.Second
	// pushBytes and pushItems are what is read from the store at a time for one
	// subscriber: its page, before others have their turn. What it holds in
	// memory is bounded by them, or by one envelope, and not by a queue.
	pushBytes = 64 << 10
	pushItems = 16
	// maxPushers is how many subscribers are pushed to at a time. Pages go into
	// QUIC's queues in microseconds; the bound is for storms.
	maxPushers = 64
	// pushPatience is how long a push may take to leave before others stop
	// waiting for it.
	pushPatience = 100 * time.Millisecond
	// maxStalled bounds those that take longer, each of which holds its page.
	maxStalled = 256
	// stallShare is how long one of them is left alone when there are so many
	// that others wait for them.
	stallShare = 3 * time.Second
	// retryAfter is the least that a busy node asks for, in seconds, and as much
	// again by chance: who was refused together shall not come back together.
	retryAfter = 3

	// priceSteps is how many prices are remembered: quotes of a step live for two,
	// and clocks differ.
	priceSteps = 4
	// priceSample is of how many requests a member learns how busy it was.
	priceSample = 200
	// priceUp is by how many bits the price rises at most from step to step.
	priceUp = 2
	// priceRange bounds what is added: 256 times the least.
	priceRange = 8
	// priceSlack is how much less than its own price a member accepts, in bits.
	priceSlack = 2

	// putTimeout is how long a coordinator waits for its majority.
	putTimeout = 5 * time.Second

	// returnWithin is how long it asks members again that are away.
	returnWithin = 2 * time.Second

	// peerQueue and peerQueueBytes bound what waits for one peer: beyond it the
	// peer is slow, is passed over, and catches up by itself.
	peerQueue      = 1024
	peerQueueBytes = 8 << 20
	// peerPending bounds calls that a peer hasn't answered.
	peerPending = 1024
	// peerServing bounds calls in work on one stream of a peer, and peerOthers
	// those of them that are no puts: each may hold an answer of getBytes.
	peerServing = 256
	peerOthers  = 16
	// peerStreams bounds the streams of one peer, each with that many calls.
	peerStreams = 2
	// writeBytes is about how much goes to a peer in one write, and readBytes
	// what is read ahead: many calls or replies at a time.
	writeBytes = 256 << 10
	readBytes  = 64 << 10
	// callTimeout is after how long without an answer a peer counts as dead.
	callTimeout = 10 * time.Second
	// dialTimeout bounds connecting; backoffMin and backoffMax what follows.
	dialTimeout = 5 * time.Second
	backoffMin  = 200 * time.Millisecond
	backoffMax  = 15 * time.Second
	// maxPeerFrame holds a full answer to opGet.
	maxPeerFrame = getBytes + mailbox.MaxEnvelope + 64<<10
	// getBytes ends an answer to opGet: what is left out is asked for again.
	getBytes = 1 << 20
	// getRefs bounds the records of one get.
	getRefs = 128

	// reconcileEvery is how often a member compares with the others, plus up to a
	// third of jitter; nudges and reconnections come before it.
	reconcileEvery = 30 * time.Second

	// copyRate and copyBurst pace what a node gives to others that copy from it,
	// in bytes a second: an eighth of a gigabit line, and what half a core checks
	// at the other end. A store of 64 GiB moves in little more than an hour.
	copyRate  = 16 << 20
	copyBurst = 4 << 20
	// moveRound is for how long a move has the turn to compare, so that it does
	// not keep the members' own rounds waiting.
	moveRound = 5 * time.Second
	// moveRetryMin and moveRetryMax space attempts to get from nodes that are
	// away or have not adopted the directory yet.
	moveRetryMin = 200 * time.Millisecond
	moveRetryMax = 5 * time.Minute
	// handGrace is how long a node keeps what a majority of its new keepers has,
	// for those that have not: a member that is down for a day is put up again.
	handGrace = 24 * time.Hour
	// touchTimeout bounds the getting of one mailbox ahead of the others: a full
	// one has 64 MiB, a few seconds at copyRate.
	touchTimeout = time.Minute
	// touchIdle is roundIdle while somebody waits for one mailbox, of which others
	// have as much.
	touchIdle = 4 * time.Second
	// maxTouched bounds the mailboxes that are known to be got ahead, about 10 MB;
	// beyond it they are compared anew.
	maxTouched = 1 << 16
	// maxListed bounds the records that one keeper may list of a mailbox: twice
	// what a full one holds of the smallest envelopes.
	maxListed = 1 << 15

	// keyGrace is how long a request key is kept after its epoch: what was
	// sealed in its last second may come late by the skew, once each way.
	keyGrace = 2*mailbox.MaxClockSkew + time.Minute

	// renewEvery bounds how long past its grace a request key may stay.
	renewEvery = 10 * time.Second

	// expireEvery and purgeEvery pace expiry: rows go within a minute, their
	// bytes leave the files with the next purge.
	expireEvery = time.Minute
	purgeEvery  = 10 * time.Minute
)
