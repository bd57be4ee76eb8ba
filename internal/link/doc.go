// Package link carries cells and service streams between authenticated
// neighbours: QUIC with TLS 1.3 over an injected packet connection, where a
// node is known by the Ed25519 key that the directory lists and a client by
// nothing at all. It implements spec/link.md.
//
// One Endpoint listens and dials on one socket. It speaks two protocols:
//
//	sotto-link/1    Link, Channel: whole cells, one stream per circuit
//	sotto-swarm/1   ServiceConn, ServiceStream: bytes, between nodes only
//
// It opens no cell and reads no frame: what a cell means is package relay's
// and circuit's affair, what a stream carries package swarm's.
package link
