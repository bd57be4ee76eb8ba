package padding

// What levels cost, in megabytes a day and both directions together
// (spec/padding.md §3). TestCostPerDay in internal/circuit counts the bytes.
const (
	lowCost      = 65
	standardCost = 70
	highCost     = 352
)

// ChatCost is what Active costs in addition for each hour in which a
// conversation is in use, in megabytes.
const ChatCost = 3

// Cost returns what a day at the level costs without a conversation, in
// megabytes.
func (l Level) Cost() int {
	switch l {
	case Low:
		return lowCost
	case High:
		return highCost
	}
	return standardCost
}
