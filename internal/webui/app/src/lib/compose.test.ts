import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rows } from './compose';
import type { Message } from './types';

let seq = 0;
const message = (sent: Date, outgoing: boolean, more: Partial<Message> = {}): Message => ({
  id: String(++seq),
  peer: 'p',
  outgoing,
  text: 'x',
  state: outgoing ? 'stored' : 'received',
  sent_at: sent.toISOString(),
  received_at: sent.toISOString(),
  seq,
  ...more,
});

test('a day begins with a separator', () => {
  const list = rows([
    message(new Date(2026, 4, 5, 23, 59), true),
    message(new Date(2026, 4, 6, 0, 1), true),
    message(new Date(2026, 4, 6, 0, 2), true),
  ]);
  assert.deepEqual(list.map((r) => r.newDay), [true, true, false]);
  assert.deepEqual(list.map((r) => r.joined), [false, false, true]);
});

test('groups end with the side, with time, and at a gap or failure', () => {
  const list = rows([
    message(new Date(2026, 4, 6, 9, 0), true),
    message(new Date(2026, 4, 6, 9, 1), false),
    message(new Date(2026, 4, 6, 9, 2), false),
    message(new Date(2026, 4, 6, 9, 30), false),
    message(new Date(2026, 4, 6, 9, 31), false, { gap: 2 }),
    message(new Date(2026, 4, 6, 9, 32), true, { state: 'failed' }),
    message(new Date(2026, 4, 6, 9, 33), true),
  ]);
  assert.deepEqual(list.map((r) => r.joined), [false, false, true, false, false, false, false]);
});
