import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawPositions, fairRandom, wordsOf } from './phrase';

test('positions are different, in order and in range', () => {
  for (let i = 0; i < 200; i++) {
    const p = drawPositions(3, 24, fairRandom);
    assert.equal(new Set(p).size, 3);
    assert.deepEqual(p, [...p].sort((a, b) => a - b));
    assert.ok(p[0]! >= 0 && p[2]! < 24);
  }
});

test('the first and the last word can be drawn', () => {
  assert.deepEqual(drawPositions(3, 24, () => 0), [0, 1, 2]);
  assert.deepEqual(drawPositions(3, 24, (n) => n - 1), [21, 22, 23]);
});

test('words are found between any spaces', () => {
  assert.deepEqual(wordsOf('  Apple\n\tbanana  CHERRY '), ['apple', 'banana', 'cherry']);
  assert.deepEqual(wordsOf(' '), []);
});
