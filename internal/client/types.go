package client

import "time"

// State is what a profile directory is at the moment.
type State string

// The states of a profile: nothing in it yet, an account whose vault is
// closed, an account at work.
const (
	StateEmpty  State = "empty"
	StateLocked State = "locked"
	StateReady  State = "ready"
)

// The states of an outgoing message, in the order they are passed through
// (spec/client.md §5.2). A message never goes back to an earlier one, but for
// Retry, which takes MessageFailed to MessageQueued.
const (
	MessageQueued    = "queued"    // written to the vault, nothing has left
	MessageSending   = "sending"   // a swarm member has been asked
	MessageStored    = "stored"    // a majority of the swarm signed for it
	MessageDelivered = "delivered" // the recipient's device has it
	MessageRead      = "read"      // the recipient has seen it
	MessageFailed    = "failed"    // given up; Reason says why
	MessageReceived  = "received"  // the one state of an incoming message
)

// Message is one message of a chat.
type Message struct {
	ID         string    `json:"id"`   // 32 hex digits
	Peer       string    `json:"peer"` // the other's account ID
	Outgoing   bool      `json:"outgoing"`
	Text       string    `json:"text"`
	State      string    `json:"state"`
	Reason     string    `json:"reason,omitempty"` // of MessageFailed, in plain words
	SentAt     time.Time `json:"sent_at"`          // by the sender's clock
	ReceivedAt time.Time `json:"received_at"`      // by ours; zero when outgoing
	Seq        uint64    `json:"seq"`              // place in the chat: messages sort by Seq, then Counter
	Counter    uint64    `json:"counter"`          // the sender's number for it; 0 until it is encrypted
	Gap        uint64    `json:"gap,omitempty"`    // how many messages before this one are still missing
}

// Chat is a contact, or a stranger who asks to be one, with what a list of
// chats shows.
type Chat struct {
	Peer    string   `json:"peer"`
	Name    string   `json:"name"` // given by us with Rename; else empty
	Request bool     `json:"request"`
	Blocked bool     `json:"blocked"`
	Unread  int      `json:"unread"`
	Last    *Message `json:"last,omitempty"`
}

// Hop is one node of a path.
type Hop struct {
	ID       string `json:"id"`
	Operator string `json:"operator"`
	Address  string `json:"address"`
}

// Path is a circuit in use or ready, for the path view.
type Path struct {
	ID      string        `json:"id"`
	Purpose string        `json:"purpose"`
	State   string        `json:"state"`
	Guard   Hop           `json:"guard"`
	Middle  Hop           `json:"middle"`
	Exit    Hop           `json:"exit"`
	BuiltAt time.Time     `json:"built_at"`
	RTT     time.Duration `json:"rtt"`
	Streams int           `json:"streams"`
}

// The states of the connection.
const (
	ConnectionOffline    = "offline"
	ConnectionConnecting = "connecting"
	ConnectionOnline     = "online"
)

// Connection is how the client stands with the network.
type Connection struct {
	State string `json:"state"`
	Text  string `json:"text"` // one plain sentence
}

// The types of an Event.
const (
	EventMessage    = "message"    // a new message, in or out: Message
	EventState      = "state"      // a message changed its state: Message
	EventChat       = "chat"       // a chat appeared or changed: Peer (look it up again)
	EventPath       = "path"       // Paths or MemberFaults changed: Text says how
	EventConnection = "connection" // Connection changed: Connection
	EventMissed     = "missed"     // the reader was too slow: load everything again
)

// Event tells a user interface what changed.
type Event struct {
	Type       string      `json:"type"`
	Peer       string      `json:"peer,omitempty"`
	Message    *Message    `json:"message,omitempty"`
	Connection *Connection `json:"connection,omitempty"`
	Text       string      `json:"text,omitempty"`
}
