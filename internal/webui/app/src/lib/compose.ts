import type { Message } from './types';

/** The longest text of a message, in bytes (spec/client.md); the server decides. */
export const LONGEST = 60 * 1024;

export interface Row {
  message: Message;
  /** A day begins here. */
  newDay: boolean;
  /** Follows one of the same side closely: drawn as one group. */
  joined: boolean;
}

const GROUP = 5 * 60 * 1000;

/** When a message is shown to have happened. */
export const timeOfMessage = (m: Message): string => m.sent_at;

/** Lays messages out as rows. */
export function rows(messages: Message[]): Row[] {
  return messages.map((message, i) => {
    const before = messages[i - 1];
    const now = new Date(timeOfMessage(message));
    const then = before && new Date(timeOfMessage(before));
    const newDay = !then || then.toDateString() !== now.toDateString();
    const joined =
      !newDay &&
      !message.gap &&
      before!.outgoing === message.outgoing &&
      before!.state !== 'failed' &&
      now.getTime() - then!.getTime() < GROUP;
    return { message, newDay, joined };
  });
}
