// Package api offers an account on this machine to its own web app and to the
// commands: JSON over HTTP and a stream of events, on the loopback interface
// only. It implements docs/api.md.
//
// It decides who may ask (Host, Origin, token), bounds what is asked, and puts
// failures into words for people. It holds no state of an account and no
// protocol: internal/client does. The pages come from internal/webui, which is
// handed in.
//
// A request passes, in this order:
//
//	headers    every answer carries the security headers        guard.go
//	host       Host is the listener's own address                guard.go
//	site       Origin and Sec-Fetch-Site say "same origin"       guard.go
//	route      path, then method                                 routes.go
//	token      Authorization: Bearer, compared in constant time  guard.go
//	body       bounded, one JSON object, no unknown field        body.go
package api
