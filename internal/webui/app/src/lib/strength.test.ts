import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENOUGH, strength } from './strength';

test('what everyone guesses first is not enough', () => {
  for (const weak of ['', 'short', 'password', 'Password123', 'aaaaaaaaaaaaaaaa', '12345678', 'qwertyqwerty', 'sotto sotto sotto']) {
    assert.ok(strength(weak) < ENOUGH, weak);
  }
});

test('several words, or a random string, are', () => {
  for (const good of ['correct horse battery', 'seven quiet lanterns over the harbour', 'x7#kQ9!vLp2$', 'drei blaue Boote am Steg']) {
    assert.ok(strength(good) >= ENOUGH, good);
  }
  assert.equal(strength('seven quiet lanterns over the harbour'), 4);
});
