/** What a thrown value says, for people. */
export function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
