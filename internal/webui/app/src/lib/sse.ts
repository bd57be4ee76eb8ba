// Server-sent events, read with fetch: EventSource cannot carry a header.

/** Takes a stream's text apart; returns the data of each complete event. */
export class EventParser {
  private rest = '';

  push(chunk: string): string[] {
    this.rest += chunk;
    const blocks = this.rest.split('\n\n');
    this.rest = blocks.pop() ?? '';
    return blocks
      .map((block) =>
        block
          .split('\n')
          .filter((line) => line.startsWith('data: '))
          .map((line) => line.slice(6))
          .join('\n'),
      )
      .filter((data) => data !== '');
  }
}
