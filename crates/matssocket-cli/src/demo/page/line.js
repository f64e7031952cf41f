// WebSockets that a person can cut, to see what becomes of the messages on their way.

/** Tells all tabs of this page: only one of them holds the line. */
const channel = new BroadcastChannel("matssocket-demo/line");
const lines = new Set();
/** Until when no line comes about: in localStorage, so that the page may be reloaded meanwhile. */
const DOWN_UNTIL = "matssocket-demo/down-until";

/** What the client connects with: an ordinary WebSocket, which `cutLine` can take away. */
export class BreakableWebSocket extends WebSocket {
  constructor(url, protocol) {
    super(url, protocol);
    lines.add(this);
    this.addEventListener("close", () => lines.delete(this));
    if (Date.now() < Number(localStorage.getItem(DOWN_UNTIL))) queueMicrotask(() => this.cut());
  }

  /** Ends as in a tunnel: nothing more is read or said, and nobody has said goodbye. */
  cut() {
    const { onclose } = this;
    this.onopen = this.onmessage = this.onclose = null;
    lines.delete(this);
    this.close();
    onclose?.call(this, new CloseEvent("close", { code: 1006, reason: "the line was cut" }));
  }
}

/** Cuts the line, whichever tab holds it, and lets none through for so many milliseconds. */
export function cutLine(millis) {
  channel.postMessage(millis);
  cutHere(millis);
}

channel.addEventListener("message", ({ data }) => cutHere(data));

function cutHere(millis) {
  localStorage.setItem(DOWN_UNTIL, Date.now() + millis);
  for (const line of [...lines]) line.cut();
}
