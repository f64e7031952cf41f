import assert from "node:assert/strict";
import type { Envelope } from "../../src/api.js";

/** A WebSocket whose other side is the test. */
export class FakeWebSocket {
  readyState = 0;
  bufferedAmount = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  /** What the client has sent. */
  readonly pipelines: Envelope[][] = [];
  closedWith: { code: number | undefined; reason: string | undefined } | undefined;
  /** The test's side, where it wants to be told. */
  onPipeline: ((pipeline: Envelope[]) => void) | undefined;
  onGone: (() => void) | undefined;

  constructor(
    readonly url: string, readonly protocol: string,
    readonly run: (callback: () => void) => void = (callback) => callback(),
  ) {}

  send(text: string): void {
    assert.equal(this.readyState, 1, "sent on a socket that is not open");
    const pipeline = JSON.parse(text) as Envelope[];
    this.pipelines.push(pipeline);
    this.onPipeline?.(pipeline);
  }

  close(code?: number, reason?: string): void {
    if (this.readyState >= 2) return;
    assert.ok(code === undefined || code === 1000 || (code >= 3000 && code < 5000), `browsers do not let us close with ${code}`);
    this.readyState = 2;
    this.closedWith = { code, reason };
    this.onGone?.();
    setImmediate(() => this.end(code ?? 1005, reason));
  }

  // What the server does:

  accept(): void {
    this.readyState = 1;
    this.run(() => this.onopen?.());
  }

  say(...envelopes: Envelope[]): void {
    if (this.readyState === 1) this.sayText(JSON.stringify(envelopes));
  }

  sayText(data: unknown): void {
    this.run(() => this.onmessage?.({ data }));
  }

  end(code: number, reason = ""): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.run(() => this.onclose?.({ code, reason }));
  }

  get envelopes(): Envelope[] {
    return this.pipelines.flat();
  }

  of(t: Envelope["t"]): Envelope[] {
    return this.envelopes.filter((envelope) => envelope.t === t);
  }
}
