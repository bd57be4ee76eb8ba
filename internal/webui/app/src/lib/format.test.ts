import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dayOf, daysBetween, groups, hue, shortID, whenShort } from './format';

const say = { today: 'Today', yesterday: 'Yesterday' };
const now = new Date(2026, 4, 6, 9, 0); // a Wednesday
const at = (...p: [number, number, number, number?]) => new Date(p[0], p[1], p[2], p[3] ?? 12).toISOString();

test('days are the calendar’s', () => {
  assert.equal(daysBetween(new Date(2026, 4, 5, 23, 59), new Date(2026, 4, 6, 0, 1)), 1);
  assert.equal(daysBetween(new Date(2026, 4, 6, 0, 1), new Date(2026, 4, 6, 23, 59)), 0);
});

test('separators grow coarser', () => {
  assert.equal(dayOf(at(2026, 4, 6, 1), now, say), 'Today');
  assert.equal(dayOf(at(2026, 4, 5, 23), now, say), 'Yesterday');
  assert.equal(dayOf(at(2026, 4, 3), now, say), 'Sunday');
  assert.equal(dayOf(at(2026, 3, 20), now, say), '20 April');
  assert.equal(dayOf(at(2025, 11, 1), now, say), '1 December 2025');
});

test('the list shows a time, then a day', () => {
  assert.equal(whenShort(at(2026, 4, 6, 8), now, say), '08:00');
  assert.equal(whenShort(at(2026, 4, 5), now, say), 'Yesterday');
  assert.equal(whenShort(at(2026, 4, 3), now, say), 'Sun');
  assert.equal(whenShort(at(2026, 3, 20), now, say), '20 Apr');
});

test('IDs are shortened and grouped without loss', () => {
  const id = 'sotto1' + 'q'.repeat(59);
  assert.equal(groups(id).join(''), id);
  assert.ok(shortID(id).length < 20);
  assert.equal(shortID('short'), 'short');
  assert.ok(hue(id, 6) >= 0 && hue(id, 6) < 6);
});
