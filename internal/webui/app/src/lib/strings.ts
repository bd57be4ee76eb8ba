// Every word that the app shows, in one place.

const plural = (n: number, one: string, many: string) => (n === 1 ? one : many.replace('#', String(n)));

export const t = {
  app: 'Sotto',
  tagline: 'Messages for two, and no one in between.',

  common: {
    back: 'Back',
    cancel: 'Cancel',
    close: 'Close',
    continue: 'Continue',
    copy: 'Copy',
    copied: 'Copied',
    save: 'Save',
    saved: 'Saved',
    loading: 'Loading…',
    today: 'Today',
    yesterday: 'Yesterday',
    show: 'Show',
    hide: 'Hide',
  },

  errors: {
    unexpected: 'Something went wrong. Please try again.',
    unreachable: 'Sotto is not answering. Is it still running?',
  },

  gate: {
    startingTitle: 'Opening Sotto…',
    noTokenTitle: 'Open Sotto by its link',
    noTokenText:
      'This page only works through the link that Sotto prints when it starts. It is different each time, so that no other page or program can read your messages.',
    lostTitle: 'Sotto has stopped',
    lostText: 'The program behind this page is not answering. Start it again and open the link that it prints; this page keeps trying meanwhile.',
  },

  welcome: {
    title: 'Speak under your breath.',
    text: 'Sotto carries what you write to one other person, sealed, and hides who is writing to whom.',
    points: [
      { title: 'No number, no address', text: 'An account is a key that is made on this device. Nobody gives it to you, nobody can take it away.' },
      { title: 'Three hops', text: 'Every message passes three independent nodes. None of them knows both you and the person you write to.' },
      { title: 'Only you hold the key', text: 'Your messages are stored here alone, locked with your passphrase.' },
    ],
    create: 'Create an account',
    restore: 'Restore from a recovery phrase',
  },

  steps: (n: number, of: number) => `Step ${n} of ${of}`,

  name: {
    title: 'What shall we call you?',
    text: 'The name stays on this device, to tell your accounts apart. Nobody else sees it.',
    label: 'Name',
    placeholder: 'For example: Alice',
    tooLong: 'This name is too long.',
  },

  passphrase: {
    title: 'Choose a passphrase',
    text: 'It locks everything that is stored on this device. Several unrelated words are easy to remember and hard to guess.',
    label: 'Passphrase',
    confirm: 'Passphrase again',
    mismatch: 'The two are not the same yet.',
    match: 'Both are the same.',
    strength: ['Too short', 'Easy to guess', 'Fair', 'Good', 'Strong'],
    hint: 'Add another word or two.',
    strengthLabel: (word: string) => `Strength: ${word}`,
    finish: 'Create account',
    finishRestore: 'Restore account',
  },

  making: {
    title: 'Making your account…',
    restoring: 'Restoring your account…',
    text: 'Your keys are being made and locked with the passphrase. This is slow on purpose: it makes guessing slow, too.',
  },

  phrase: {
    title: 'Your recovery phrase',
    text: 'Write these 24 words on paper, in this order. They are your account: whoever has them is you, and without them nobody can bring it back.',
    once: 'They are shown this once and never again.',
    done: 'I have written them down',
    label: 'Recovery phrase, 24 words',
  },

  check: {
    title: 'Let’s check your note',
    text: 'Please enter these three words from your paper.',
    word: (n: number) => `Word ${n}`,
    wrong: 'This is not the word that was shown.',
    again: 'Show the words again',
    done: 'Check',
  },

  finished: {
    title: 'You’re all set',
    text: 'This is your ID. Give it to the people who should be able to write to you; it does not say who you are.',
    start: 'Start messaging',
  },

  restore: {
    title: 'Enter your recovery phrase',
    text: 'The 24 words from your paper, in their order. Spaces or line breaks between them both work.',
    label: 'Recovery phrase',
    count: (n: number) => `${n} of 24 words`,
  },

  unlock: {
    title: 'Welcome back',
    text: 'Enter your passphrase to unlock your messages.',
    label: 'Passphrase',
    button: 'Unlock',
    busy: 'Unlocking…',
  },

  list: {
    title: 'Chats',
    label: 'Chats',
    new: 'New chat',
    me: 'My ID',
    settings: 'Settings',
    requests: 'Message requests',
    requestCount: (n: number) => plural(n, 'Someone new wrote to you', '# new people wrote to you'),
    empty: 'No conversations yet',
    emptyText: 'Start one with someone’s ID, or give them yours.',
    you: 'You: ',
    blocked: 'Blocked',
    unread: (n: number) => plural(n, '1 unread message', '# unread messages'),
    noMessages: 'No messages yet',
  },

  pane: {
    title: 'Pick a conversation',
    text: 'Everything you read here was sealed for you alone.',
  },

  connection: {
    online: 'Connected',
    connecting: 'Connecting…',
    offline: 'Not connected',
    lost: 'Sotto is not answering',
    open: (state: string) => `${state}. Show the path of your messages`,
  },

  chat: {
    label: (name: string) => `Conversation with ${name}`,
    log: 'Messages',
    details: 'Contact details',
    placeholder: 'Write a message',
    composer: 'Message',
    send: 'Send',
    keys: 'Enter sends, Shift and Enter starts a new line.',
    older: 'Load earlier messages',
    first: 'This is the beginning of your conversation.',
    firstText: 'Messages are sealed on this device and opened on theirs. Your first message asks them whether they want to hear from you.',
    toEnd: 'To the latest message',
    gap: (n: number) => plural(n, 'Waiting for a message…', 'Waiting for # messages…'),
    gapText: 'It is on its way and will appear here.',
    retry: 'Try again',
    blocked: 'You have blocked this contact. Nothing from them reaches you.',
    unblock: 'Unblock',
    request: 'They are not in your contacts. Until you accept, they do not learn whether their message arrived.',
    tooLong: 'This message is too long to send.',
  },

  state: {
    queued: 'Waiting to be sent',
    sending: 'Sending',
    stored: 'Sent',
    delivered: 'Delivered',
    read: 'Read',
    failed: 'Not sent',
    received: 'Received',
  },
  stateLong: {
    queued: 'Waiting on this device until there is a connection',
    sending: 'On its way through three hops',
    stored: 'Kept safely by the network until it is picked up',
    delivered: 'It has reached their device',
    read: 'They have seen it',
    failed: 'It could not be sent',
    received: 'Received',
  },
  failedBecause: (reason: string) => `Not sent: ${reason}`,

  contact: {
    title: 'Contact',
    name: 'Name',
    nameText: 'Only you see this name.',
    placeholder: 'A name for this contact',
    id: 'ID',
    idText: 'Compare it in person, or over another channel, to be sure who this is.',
    block: 'Block',
    unblock: 'Unblock',
  },

  new: {
    title: 'New chat',
    text: 'Paste the ID of the person you want to write to.',
    id: 'Their ID',
    placeholder: 'sotto1…',
    name: 'A name for them',
    optional: 'optional, only you see it',
    go: 'Start chat',
    bad: 'This is not an account ID. It begins with “sotto1”.',
    short: (n: number, of: number) => `An ID has ${of} characters; this has ${n}.`,
    self: 'This is your own ID.',
    good: 'This ID is complete.',
    known: 'You already have a chat with this person.',
  },

  requests: {
    title: 'Message requests',
    text: 'These people have your ID and wrote to you. They learn nothing until you accept.',
    empty: 'No requests',
    emptyText: 'When someone new writes to you, you decide here.',
    accept: 'Accept',
    delete: 'Delete',
    block: 'Block',
    open: 'Show conversation',
    deleteTitle: 'Delete this request?',
    deleteText: 'What they wrote is deleted. They are not told, and may write again.',
    blockTitle: (name: string) => `Block ${name}?`,
    blockText: 'Nothing from them will reach you any more. They are not told.',
  },

  me: {
    title: 'My ID',
    text: 'Give this ID to people who should be able to write to you. It holds no name, number or address.',
    qr: 'QR code of your ID',
    copy: 'Copy ID',
    label: 'Your ID',
  },

  paths: {
    title: 'The path of your messages',
    text: 'Each message is wrapped in three layers. Every node takes off one and sees only its neighbours.',
    you: 'You',
    guard: 'Entry',
    middle: 'Middle',
    exit: 'Exit',
    mailbox: 'Mailbox',
    guardText: 'knows that you use Sotto, not with whom',
    middleText: 'knows neither end',
    exitText: 'knows the mailbox’s node, not you',
    mailboxText: 'sealed, under an address that changes',
    purposes: {
      sending: 'Sending',
      receiving: 'Receiving',
      files: 'Files',
    } as Record<string, string>,
    spare: 'Kept ready',
    states: {
      'in use': 'in use',
      building: 'being built',
      retiring: 'ending',
    } as Record<string, string>,
    roundTrip: (ms: number) => `${ms < 1 ? 'under 1' : Math.round(ms)} ms there and back`,
    age: (minutes: number) => (minutes < 1 ? 'just built' : plural(minutes, 'built a minute ago', 'built # minutes ago')),
    operator: (name: string) => `run by ${name}`,
    renew: 'Use new paths',
    renewing: 'Building new paths…',
    none: 'No path is built at the moment.',
    current: 'In use now',
    all: 'All paths',
    happened: 'What happened',
    noOperator: 'unnamed operator',
  },

  settings: {
    title: 'Settings',
    name: 'Name',
    nameText: 'Stays on this device.',
    lock: 'Lock now',
    lockTitle: 'Lock',
    lockText: 'Closes your messages until the passphrase is entered. Nothing is received meanwhile.',
    about: 'About',
    version: (v: string) => `Sotto ${v}`,
    aboutText: 'This page is served by the program on this machine and loads nothing from anywhere else.',
    licences: 'Licences of what is inside',
  },

  cover: {
    title: 'Cover traffic',
    text: 'Dummies that look like messages make whoever watches your line, or the first node of your paths, unsure when you really write. What you write, and to whom, is hidden from them at every level.',
    levels: {
      low: { name: 'Low', text: 'Keeps the line from falling silent, no more. Who watches it can tell when a message goes.' },
      standard: { name: 'Standard', text: 'A few dummies: some doubt which of what passes are messages.' },
      active: { name: 'Active chat', text: 'Many dummies while you chat. Who watches can tell that you are chatting, but less surely when each message goes.' },
      high: { name: 'High', text: 'A dummy every few seconds in each direction, day and night. At no other level is it harder to tell which are messages.' },
    },
    perDay: (mb: number) => `${mb} MB a day`,
    perChat: (day: number, hour: number) => `${day} MB a day, ${hour} MB more for each hour of chatting`,
    limits: 'No level hides that you use Sotto, nor long messages, nor the receipts that follow messages, nor anything from somebody who watches both ends for long. The cost is that of a quiet day before the first conversation; paths that receive, and your own messages, come on top.',
  },
};
