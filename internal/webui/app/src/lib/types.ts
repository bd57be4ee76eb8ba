// The answers of the API (docs/api.md §5).

export type ProfileState = 'empty' | 'locked' | 'ready';

export interface Status {
  state: ProfileState;
  version: string;
}

export interface Me {
  id: string;
  name: string;
}

export type MessageState =
  | 'queued'
  | 'sending'
  | 'stored'
  | 'delivered'
  | 'read'
  | 'failed'
  | 'received';

export interface Message {
  id: string;
  peer: string;
  outgoing: boolean;
  text: string;
  state: MessageState;
  reason?: string;
  sent_at: string;
  received_at: string;
  seq: number;
  /** How many messages before this one are still on their way. */
  gap?: number;
}

export interface Chat {
  peer: string;
  name: string;
  request: boolean;
  blocked: boolean;
  unread: number;
  last?: Message;
}

export interface Hop {
  id: string;
  operator: string;
  address: string;
}

export interface Path {
  id: string;
  purpose: string;
  state: string;
  guard: Hop;
  middle: Hop;
  exit: Hop;
  built_at: string;
  rtt_ms: number;
  streams: number;
}

export interface Connection {
  state: 'offline' | 'connecting' | 'online';
  text: string;
}

export type CoverName = 'low' | 'standard' | 'active' | 'high';

export interface Cover {
  level: CoverName;
  levels: { level: CoverName; mb_per_day: number; mb_per_chat_hour: number }[];
}

export interface ServerEvent {
  type: 'status' | 'message' | 'state' | 'chat' | 'path' | 'connection' | 'missed';
  state?: ProfileState;
  peer?: string;
  message?: Message;
  connection?: Connection;
  text?: string;
}
