/** How many words a recovery phrase has. */
export const WORDS = 24;

export const wordsOf = (text: string): string[] => text.trim().toLowerCase().split(/\s+/).filter(Boolean);

/** Draws n different positions below count, in order. */
export function drawPositions(n: number, count: number, random: (below: number) => number): number[] {
  const left = Array.from({ length: count }, (_, i) => i);
  const out: number[] = [];
  while (out.length < n && left.length > 0) {
    out.push(left.splice(random(left.length), 1)[0]!);
  }
  return out.sort((a, b) => a - b);
}

/** A fair number below `below`, from the system's randomness. */
export function fairRandom(below: number): number {
  const limit = Math.floor(0x1_0000_0000 / below) * below;
  for (;;) {
    const n = crypto.getRandomValues(new Uint32Array(1))[0]!;
    if (n < limit) return n % below;
  }
}
