import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ID_LENGTH, shape, tidy } from './ids';

const id = 'sotto1' + 'q'.repeat(ID_LENGTH - 6);

test('what is typed is judged as far as it goes', () => {
  assert.equal(shape(''), 'empty');
  assert.equal(shape('so'), 'short');
  assert.equal(shape('sotto1q'), 'short');
  assert.equal(shape(id), 'complete');
  assert.equal(shape(` ${id.slice(0, 20)}\n${id.slice(20).toUpperCase()} `), 'complete');
});

test('what cannot become an ID is refused at once', () => {
  for (const bad of ['b', 'bob', 'sotto2', 'sotto1b', 'sotto1o', id + 'q', 'sotto1q!']) {
    assert.equal(shape(bad), 'bad', bad);
  }
});

test('spaces of copying go', () => {
  assert.equal(tidy(' sotto 1q\n'), 'sotto1q');
});
