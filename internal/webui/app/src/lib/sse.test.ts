import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventParser } from './sse';

test('events are found however the stream is cut', () => {
  const stream = 'data: {"a":1}\n\n: \n\ndata: {"b":"x y"}\n\n';
  for (let cut = 0; cut <= stream.length; cut++) {
    const parser = new EventParser();
    const got = [...parser.push(stream.slice(0, cut)), ...parser.push(stream.slice(cut))];
    assert.deepEqual(got, ['{"a":1}', '{"b":"x y"}']);
  }
});

test('half an event waits', () => {
  const parser = new EventParser();
  assert.deepEqual(parser.push('data: {"a"'), []);
  assert.deepEqual(parser.push(':1}\n\n'), ['{"a":1}']);
});
