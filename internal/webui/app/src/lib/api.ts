import { t } from './strings';
import type { Chat, Connection, Cover, CoverName, Me, Message, Path, Status } from './types';

/** A refusal or failure in words for people. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Code of an ApiError when nothing answers. */
export const UNREACHABLE = 'unreachable';

/** Says what went wrong, whatever it was. */
export function words(error: unknown): string {
  return error instanceof ApiError ? error.message : t.errors.unexpected;
}

const BASE = '/api/v1';

export class Api {
  constructor(private readonly token: string) {}

  /** Opens a request; the answer is good or this throws an ApiError. */
  async open(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = { Authorization: `Bearer ${this.token}` };
    const init: RequestInit = { method, headers, cache: 'no-store', redirect: 'error', credentials: 'omit' };
    if (body !== undefined) {
      headers['Content-Type'] = 'application/json';
      init.body = JSON.stringify(body);
    }
    if (signal) {
      init.signal = signal;
    }
    let answer: Response;
    try {
      answer = await fetch(BASE + path, init);
    } catch {
      throw new ApiError(UNREACHABLE, t.errors.unreachable);
    }
    if (answer.ok) {
      return answer;
    }
    const told = await answer.json().catch(() => null);
    throw new ApiError(told?.error?.code ?? 'internal', told?.error?.message ?? t.errors.unexpected);
  }

  private async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await this.open(method, path, body);
    return (await answer.json()) as T;
  }

  status = () => this.call<Status>('GET', '/status');
  create = (name: string, passphrase: string) =>
    this.call<{ phrase: string }>('POST', '/account/create', { name, passphrase });
  restore = (phrase: string, name: string, passphrase: string) =>
    this.call('POST', '/account/restore', { phrase, name, passphrase });
  unlock = (passphrase: string) => this.call('POST', '/account/unlock', { passphrase });
  lock = () => this.call('POST', '/account/lock');
  checkID = (id: string) => this.call<{ valid: boolean; id?: string; self?: boolean; problem?: string }>('POST', '/ids/check', { id });

  me = () => this.call<Me>('GET', '/me');
  setName = (name: string) => this.call<Me>('PATCH', '/me', { name });

  chats = async () => (await this.call<{ chats: Chat[] }>('GET', '/chats')).chats;
  requests = async () => (await this.call<{ requests: Chat[] }>('GET', '/requests')).requests;
  messages = (peer: string, before?: string) =>
    this.call<{ messages: Message[]; more: boolean }>(
      'GET',
      `/chats/${peer}/messages${before ? `?before=${before}` : ''}`,
    );
  send = (peer: string, text: string) => this.call<Message>('POST', `/chats/${peer}/messages`, { text });
  retry = (id: string) => this.call('POST', `/messages/${id}/retry`);
  read = (peer: string) => this.call('POST', `/chats/${peer}/read`);
  renameChat = (peer: string, name: string) => this.call('PATCH', `/chats/${peer}`, { name });
  block = (peer: string) => this.call('POST', `/chats/${peer}/block`);
  unblock = (peer: string) => this.call('POST', `/chats/${peer}/unblock`);
  accept = (peer: string) => this.call('POST', `/requests/${peer}/accept`);
  deleteRequest = (peer: string) => this.call('POST', `/requests/${peer}/delete`);

  cover = () => this.call<Cover>('GET', '/cover');
  setCover = (level: CoverName) => this.call<Cover>('PATCH', '/cover', { level });
  chatting = () => this.call('POST', '/chatting');

  connection = () => this.call<Connection>('GET', '/connection');
  paths = async () => (await this.call<{ paths: Path[] }>('GET', '/paths')).paths;
  renewPaths = () => this.call('POST', '/paths/renew');
}
