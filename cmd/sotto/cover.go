package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sotto/internal/padding"
)

// coverText says what each level hides, and from whom (spec/padding.md §7).
var coverText = map[padding.Level]string{
	padding.Low:      "no dummies: the line is never silent, but shows when a message goes",
	padding.Standard: "a few dummies: some doubt which trains of packets are messages",
	padding.Active:   "many dummies while you chat, so it shows that you chat, but less surely when each message goes",
	padding.High:     "a dummy every few seconds in each direction: at no other level is it harder to tell messages",
}

func newCover(o *options) *cobra.Command {
	var names []string
	for _, l := range padding.Levels {
		names = append(names, l.String())
	}
	return &cobra.Command{
		Use:   "cover [" + strings.Join(names, "|") + "]",
		Short: "Show or choose how much cover traffic hides when you write",
		Long: "Dummies that look like messages make whoever watches your line, or the first\n" +
			"node of your paths, unsure when messages go. They hide neither that you use Sotto\n" +
			"nor anything from somebody who watches both ends for long. They cost traffic.",
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if _, ok := padding.ParseLevel(args[0]); !ok {
					return usagef("no level %q; there are %s", args[0], strings.Join(names, ", "))
				}
			}
			return o.withSession(cmd.Context(), func(ctx context.Context, s session) error {
				if len(args) == 1 {
					if err := s.SetCover(ctx, args[0]); err != nil {
						return err
					}
				}
				return o.showCover(ctx, s)
			})
		},
	}
}

// showCover prints the levels, the one in use marked.
func (o *options) showCover(ctx context.Context, s session) error {
	now, err := s.Cover(ctx)
	if err != nil {
		return err
	}
	for _, l := range padding.Levels {
		mark, cost, chat := " ", fmt.Sprintf("%d MB a day", l.Cost()), 0
		if l == now {
			mark = "*"
		}
		if l == padding.Active {
			chat = padding.ChatCost
			cost += fmt.Sprintf(", and %d MB an hour of chatting", chat)
		}
		err := o.print(struct {
			Level string `json:"level"`
			InUse bool   `json:"in_use"`
			Cost  int    `json:"mb_per_day"`
			Chat  int    `json:"mb_per_chat_hour"`
		}{l.String(), l == now, l.Cost(), chat}, fmt.Sprintf("%s %-9s %s\n            %s", mark, l, cost, coverText[l]))
		if err != nil {
			return err
		}
	}
	return nil
}
