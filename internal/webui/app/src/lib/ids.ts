// Account IDs as an input field sees them. Whether one is right is for the
// server to say; this only saves asking while it is not yet complete.

/** How long an account ID is (spec/identity.md §4.2). */
export const ID_LENGTH = 65;

const PREFIX = 'sotto1';

export type Shape = 'empty' | 'bad' | 'short' | 'complete';

/** An ID without the spaces and line breaks that copying adds. */
export const tidy = (text: string): string => text.replace(/\s+/g, '').toLowerCase();

export function shape(text: string): Shape {
  const id = tidy(text);
  if (id === '') return 'empty';
  const begins = id.slice(0, PREFIX.length) === PREFIX.slice(0, id.length);
  const rest = id.slice(PREFIX.length);
  if (!begins || !/^[02-9ac-hj-np-z]*$/.test(rest) || id.length > ID_LENGTH) return 'bad';
  return id.length < ID_LENGTH ? 'short' : 'complete';
}
