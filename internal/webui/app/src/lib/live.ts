import { UNREACHABLE, ApiError, type Api } from './api';
import { EventParser } from './sse';
import type { ServerEvent } from './types';

/** A stream without a sign of life for this long is dead; the server gives one every 10 s. */
const SILENCE = 30_000;
const FIRST_WAIT = 250;
const LONGEST_WAIT = 5_000;

export interface Listener {
  event(event: ServerEvent): void;
  /** Whether events are coming in. */
  live(live: boolean): void;
  /** The server refused the token. */
  refused(): void;
}

/** Keeps an event stream open for as long as the page lives. */
export async function listen(api: Api, to: Listener): Promise<void> {
  let wait = FIRST_WAIT;
  for (;;) {
    try {
      await readStream(api, (event) => {
        wait = FIRST_WAIT;
        to.live(true);
        to.event(event);
      });
    } catch (error) {
      if (error instanceof ApiError && error.code === 'token') {
        to.refused();
        return;
      }
      if (!(error instanceof ApiError) || error.code !== UNREACHABLE) {
        wait = Math.max(wait, 1_000);
      }
    }
    to.live(false);
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}

async function readStream(api: Api, event: (event: ServerEvent) => void): Promise<void> {
  const abort = new AbortController();
  let watchdog = setTimeout(() => abort.abort(), SILENCE);
  try {
    const answer = await api.open('GET', '/events', undefined, abort.signal);
    const reader = answer.body!.getReader();
    const decoder = new TextDecoder();
    const parser = new EventParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      clearTimeout(watchdog);
      watchdog = setTimeout(() => abort.abort(), SILENCE);
      for (const data of parser.push(decoder.decode(value, { stream: true }))) {
        event(JSON.parse(data) as ServerEvent);
      }
    }
  } finally {
    clearTimeout(watchdog);
  }
}
