package api

import (
	"context"
	"net/http"

	"sotto/internal/client"
	"sotto/internal/padding"
)

// CoverLevel is a level of cover traffic as GET /cover shows it.
type CoverLevel struct {
	Level string `json:"level"`
	Cost  int    `json:"mb_per_day"`
	Chat  int    `json:"mb_per_chat_hour"` // in addition, while a conversation is in use
}

// Cover is the answer of GET /cover.
type Cover struct {
	Level  string       `json:"level"`
	Levels []CoverLevel `json:"levels"`
}

// coverOf describes the levels, one of which is in use.
func coverOf(now padding.Level) Cover {
	a := Cover{Level: now.String()}
	for _, l := range padding.Levels {
		level := CoverLevel{Level: l.String(), Cost: l.Cost()}
		if l == padding.Active {
			level.Chat = padding.ChatCost
		}
		a.Levels = append(a.Levels, level)
	}
	return a
}

func cover(c Client, _ http.ResponseWriter, r *http.Request) (any, error) {
	level, err := c.Cover(r.Context())
	return coverOf(level), err
}

func setCover(c Client, w http.ResponseWriter, r *http.Request) (any, error) {
	var b levelBody
	if err := readBody(w, r, &b); err != nil {
		return nil, err
	}
	if err := c.SetCover(r.Context(), b.Level); err != nil {
		return nil, err
	}
	return cover(c, w, r)
}

func chatting(c Client, _ http.ResponseWriter, _ *http.Request) (any, error) {
	c.Chatting()
	return nil, nil
}

// Cover returns the level of cover traffic.
func (r *Remote) Cover(ctx context.Context) (padding.Level, error) {
	var a Cover
	if err := r.call(ctx, "GET", "/cover", nil, &a); err != nil {
		return 0, err
	}
	level, ok := padding.ParseLevel(a.Level)
	if !ok {
		return 0, client.ErrCover
	}
	return level, nil
}

// SetCover changes it.
func (r *Remote) SetCover(ctx context.Context, level string) error {
	return r.call(ctx, "PATCH", "/cover", levelBody{level}, nil)
}
