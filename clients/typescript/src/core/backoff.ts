/** A growing pause with jitter, so that a thousand clients that lost a node do not come back as one. */
export function backOff(first: number, attempt: number, longest: number, random: () => number): number {
  return Math.min(longest, first * 2 ** attempt) * (1 + random() / 4);
}
