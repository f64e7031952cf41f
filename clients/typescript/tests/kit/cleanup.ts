const cleanUps = new Set<() => void>();
let watching = false;

/** Called when the test's process ends, however it does, so that no server or browser outlives it. Gives what ends that. */
export function atExit(cleanUp: () => void): () => void {
  if (!watching) {
    watching = true;
    process.once("exit", () => cleanUps.forEach((one) => one()));
    for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => process.exit(1));
  }
  cleanUps.add(cleanUp);
  return () => void cleanUps.delete(cleanUp);
}
