// A rough, honest guess at how hard a passphrase is to guess. It knows nothing
// of dictionaries: it counts what an attacker would count first.

export type Strength = 0 | 1 | 2 | 3 | 4;

/** The shortest passphrase that is accepted. */
export const SHORTEST = 8;

/** What is needed at least to go on. */
export const ENOUGH: Strength = 2;

const WORST = /pass(word|phrase)?|sotto|qwert|asdf|letmein|welcome|secret|admin|1234|abcd|0000|1111/g;

/** Bits: words count as drawn from some thousands, other characters from their kind. */
export function bits(passphrase: string): number {
  const plain = passphrase.toLowerCase().replace(WORST, '');
  const words = [...new Set(plain.match(/\p{L}{3,}/gu) ?? [])];
  const rest = plain.replace(/\p{L}{3,}/gu, '');
  let total = 0;
  for (const word of words) {
    const distinct = new Set(word).size;
    total += Math.min(11, distinct * 3.2) + Math.max(0, distinct - 6) * 1.4;
  }
  total += new Set(rest.replace(/\s/g, '')).size * 4.2;
  if (/[A-Z]/.test(passphrase) && /[a-z]/.test(passphrase)) total += 3;
  return total;
}

export function strength(passphrase: string): Strength {
  if (passphrase.length < SHORTEST) return 0;
  const b = bits(passphrase);
  if (b < 24) return 1;
  if (b < 36) return 2;
  if (b < 52) return 3;
  return 4;
}
