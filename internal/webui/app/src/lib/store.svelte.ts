import { Api, ApiError, UNREACHABLE } from './api';
import { listen } from './live';
import { nav } from './nav.svelte';
import { dropToken, takeToken } from './token';
import type { Chat, Connection, Me, Message, Path, ProfileState, ServerEvent } from './types';

export interface Thread {
  messages: Message[];
  more: boolean;
}

type Phase = 'starting' | 'refused' | 'lost' | ProfileState;

/** So often, in milliseconds, typing is told. */
const TYPING = 60_000;

/** So many of the things that happened to paths are shown. */
const HAPPENED = 6;

/** What the server knows and the app shows, kept up to date by its events. */
class Store {
  api = new Api('');
  private typedAt = 0;
  phase = $state<Phase>('starting');
  /** Making an account has steps left although the account is there already. */
  onboarding = $state(false);
  live = $state(false);
  version = $state('');
  me = $state<Me>({ id: '', name: '' });
  chats = $state<Chat[]>([]);
  requests = $state<Chat[]>([]);
  threads = $state<Record<string, Thread>>({});
  paths = $state<Path[]>([]);
  /** What happened to paths since the page was opened, the latest first. */
  happened = $state<{ at: string; text: string }[]>([]);
  connection = $state<Connection>({ state: 'connecting', text: '' });
  /** Names for people who have no chat yet: the first message makes it. */
  newNames = $state<Record<string, string>>({});

  /** Messages that events brought while their thread was being loaded. */
  private loading = new Map<string, Message[]>();
  /** Counts what was asked or told last: an older answer that comes later is dropped. */
  private newest = { connection: 0, lists: 0, paths: 0 };
  private listTimer: ReturnType<typeof setTimeout> | undefined;

  start(): void {
    const token = takeToken();
    if (!token) {
      this.phase = 'refused';
      return;
    }
    this.api = new Api(token);
    void listen(this.api, {
      event: (event) => this.take(event),
      live: (live) => this.setLive(live),
      refused: () => this.refuse(),
    });
  }

  private refuse(): void {
    dropToken();
    this.clear();
    this.phase = 'refused';
  }

  private setLive(live: boolean): void {
    this.live = live;
    if (!live && this.phase === 'starting') {
      this.phase = 'lost';
    }
  }

  private take(event: ServerEvent): void {
    switch (event.type) {
      case 'status':
        void this.enter(event.state!);
        break;
      case 'message':
      case 'state':
        this.put(event.message!);
        this.loadListsSoon();
        break;
      case 'chat':
        this.loadListsSoon();
        break;
      case 'connection':
        this.newest.connection++;
        this.connection = event.connection!;
        break;
      case 'path':
        if (event.text) this.happened = [{ at: new Date().toISOString(), text: event.text }, ...this.happened].slice(0, HAPPENED);
        void this.loadPaths();
        break;
      case 'missed':
        void this.loadAll();
        break;
    }
  }

  private async enter(state: ProfileState): Promise<void> {
    if (state !== 'ready') {
      this.clear();
      this.phase = state;
      void this.loadVersion();
      return;
    }
    await this.loadAll();
    this.phase = 'ready';
  }

  private clear(): void {
    clearTimeout(this.listTimer);
    this.newest.connection++;
    this.newest.lists++;
    this.newest.paths++;
    this.me = { id: '', name: '' };
    this.chats = [];
    this.requests = [];
    this.threads = {};
    this.paths = [];
    this.happened = [];
    this.newNames = {};
    this.connection = { state: 'connecting', text: '' };
    nav.reset();
  }

  /** Loads everything that is on show; what fails comes with the next event. */
  private async loadAll(): Promise<void> {
    const open = Object.keys(this.threads);
    await Promise.allSettled([
      this.loadVersion(),
      this.api.me().then((me) => (this.me = me)),
      this.loadConnection(),
      this.loadLists(),
      this.loadPaths(),
      ...open.map((peer) => this.loadThread(peer)),
    ]);
  }

  private async loadVersion(): Promise<void> {
    const status = await this.api.status().catch(() => null);
    if (status) this.version = status.version;
  }

  private async loadConnection(): Promise<void> {
    const mine = ++this.newest.connection;
    const connection = await this.api.connection();
    if (mine === this.newest.connection) this.connection = connection;
  }

  async loadLists(): Promise<void> {
    const mine = ++this.newest.lists;
    const [chats, requests] = await Promise.all([this.api.chats(), this.api.requests()]);
    if (mine !== this.newest.lists) return;
    this.chats = chats;
    this.requests = requests;
  }

  /** Several events in a row cost one loading of the lists. */
  private loadListsSoon(): void {
    clearTimeout(this.listTimer);
    this.listTimer = setTimeout(() => void this.loadLists().catch(() => undefined), 40);
  }

  async loadPaths(): Promise<void> {
    const mine = ++this.newest.paths;
    const paths = await this.api.paths().catch(() => this.paths);
    if (mine === this.newest.paths) this.paths = paths;
  }

  async loadThread(peer: string): Promise<void> {
    // What events bring meanwhile may be newer than the answer.
    const meanwhile: Message[] = [];
    this.loading.set(peer, meanwhile);
    try {
      this.threads[peer] = await this.api.messages(peer);
    } finally {
      if (this.loading.get(peer) === meanwhile) this.loading.delete(peer);
    }
    for (const message of meanwhile) this.put(message);
  }

  /** Loads the page before the first message that is there. */
  async loadOlder(peer: string): Promise<void> {
    const thread = this.threads[peer];
    const first = thread?.messages[0];
    if (!thread?.more || !first) return;
    const page = await this.api.messages(peer, first.id);
    const now = this.threads[peer];
    if (now) {
      this.threads[peer] = { messages: [...page.messages, ...now.messages], more: page.more };
    }
  }

  /** Puts a message into its thread, in place or at its place. */
  put(message: Message): void {
    this.loading.get(message.peer)?.push(message);
    const thread = this.threads[message.peer];
    if (!thread) return;
    const at = thread.messages.findIndex((m) => m.id === message.id && m.outgoing === message.outgoing);
    if (at >= 0) {
      if (advances(thread.messages[at]!, message)) thread.messages[at] = message;
      return;
    }
    const last = thread.messages.at(-1);
    thread.messages.push(message);
    if (message.gap || (last && last.gap) || (last && last.seq > message.seq)) {
      // Something is filled in before its place: the server knows the order.
      void this.loadThread(message.peer).catch(() => undefined);
    }
  }

  chat(peer: string): Chat | undefined {
    return this.chats.find((c) => c.peer === peer) ?? this.requests.find((c) => c.peer === peer);
  }

  nameOf(peer: string): string {
    return this.chat(peer)?.name || this.newNames[peer] || '';
  }

  /** Somebody types: a conversation is in use, which some cover traffic follows. */
  typing(): void {
    const now = Date.now();
    if (now - this.typedAt < TYPING) return;
    this.typedAt = now;
    void this.api.chatting().catch(() => undefined);
  }

  async send(peer: string, text: string): Promise<void> {
    const message = await this.api.send(peer, text);
    const name = this.newNames[peer];
    if (name) {
      await this.api.renameChat(peer, name).then(() => delete this.newNames[peer]).catch(() => undefined);
    }
    this.threads[peer] ??= { messages: [], more: false };
    this.put(message);
    this.loadListsSoon();
  }
}

const ORDER = ['queued', 'sending', 'stored', 'delivered', 'read'];

/** Whether an answer that was under way is still news. */
function advances(old: Message, now: Message): boolean {
  if (old.state === 'failed' || now.state === 'failed') return true;
  return ORDER.indexOf(now.state) >= ORDER.indexOf(old.state);
}

/** Whether an error says that nothing answers, which the app shows elsewhere. */
export const isUnreachable = (error: unknown): boolean => error instanceof ApiError && error.code === UNREACHABLE;

export const store = new Store();
