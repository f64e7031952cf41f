// Calls of the admin API, which is below the page's own path.

const BASE = new URL("api/", document.baseURI);
// A page that was opened with a password in its address may not call with it; the browser adds it by itself.
BASE.username = BASE.password = "";

/** Why a call was not answered as asked. Its message is a sentence for people. */
export class CallError extends Error {
  constructor(why, status = 0) {
    const [first, ...others] = why;
    super(`${first.toUpperCase()}${others.join("")}${why.endsWith(".") ? "" : "."}`);
    /** Of the answer; 0: there was none. */
    this.status = status;
  }
}

async function call(url, options) {
  let response;
  try {
    response = await fetch(url, { ...options, cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(15_000) });
  } catch {
    throw new CallError("The server does not answer.");
  }
  // The guard may lead to a login, which is no answer to a call.
  if (response.type === "opaqueredirect") throw new CallError("You are not logged in any more: load this page anew.");
  const document = await response.json().catch(() => null);
  if (!response.ok) {
    throw new CallError(document?.error ?? `The server answered ${response.status}.`, response.status);
  }
  if (document === null) throw new CallError("The server did not answer with JSON.");
  return document;
}

/** Reads something. Parameters that are undefined, false or empty are left out. */
export function get(name, parameters = {}) {
  const url = new URL(name, BASE);
  for (const [key, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== false && value !== "") url.searchParams.set(key, value);
  }
  return call(url, {});
}

/** Changes something. */
export function post(name, body) {
  const headers = { "Content-Type": "application/json" };
  return call(new URL(name, BASE), { method: "POST", headers, body: JSON.stringify(body) });
}
