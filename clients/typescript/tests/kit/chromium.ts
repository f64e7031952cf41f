// A headless Chromium, driven over its DevTools protocol.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { WebSocket } from "ws";
import { atExit } from "./cleanup.js";

const PROGRAM = process.env["MATSSOCKET_CHROMIUM"] ?? "chromium";
const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "--no-default-browser-check",
];

type Result = Record<string, any>;

/** A browser whose profile outlives it. */
export class Chromium {
  readonly #profile = mkdtempSync(join(tmpdir(), "matssocket-chromium-"));
  #process: ChildProcess | undefined;
  #socket: WebSocket | undefined;
  #next = 0;
  #pending = new Map<number, { resolve(result: Result): void; reject(error: Error): void }>();

  async start(): Promise<this> {
    const child = spawn(PROGRAM, [...FLAGS, `--user-data-dir=${this.#profile}`, "about:blank"], {
      stdio: ["ignore", "ignore", "pipe"],
      detached: true, // so that all of its processes can be killed
    });
    this.#process = child;
    const forget = atExit(() => process.kill(-child.pid!, "SIGKILL"));
    child.once("exit", forget);
    const failed = once(child, "error").then(([error]) => {
      throw error;
    });
    const url = await Promise.race([devToolsUrl(child), failed]);
    const socket = (this.#socket = new WebSocket(url, { perMessageDeflate: false }));
    await once(socket, "open");
    socket.on("message", (data) => this.#received(JSON.parse(String(data))));
    socket.on("close", () => {
      for (const { reject } of this.#pending.values()) reject(new Error("the browser is gone"));
      this.#pending.clear();
    });
    return this;
  }

  #received(message: { id?: number; result?: Result; error?: { message: string } }): void {
    const pending = this.#pending.get(message.id ?? -1);
    if (!pending) return;
    this.#pending.delete(message.id!);
    if (message.error) pending.reject(new Error(message.error.message));
    else pending.resolve(message.result!);
  }

  call(method: string, params: Result = {}, sessionId?: string): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#socket?.readyState !== WebSocket.OPEN) return reject(new Error("the browser is gone"));
      const id = ++this.#next;
      this.#pending.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, method, params, ...(sessionId ? { sessionId } : {}) }));
    });
  }

  async open(url: string): Promise<ChromiumTab> {
    const { targetId } = await this.call("Target.createTarget", { url });
    const { sessionId } = await this.call("Target.attachToTarget", { targetId, flatten: true });
    return new ChromiumTab(this, targetId as string, sessionId as string);
  }

  /** The whole browser dies, as if its machine's memory had run out. */
  async kill(): Promise<void> {
    const child = this.#process!;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    process.kill(-child.pid!, "SIGKILL");
    await ended;
  }

  async end(): Promise<void> {
    await this.kill();
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function devToolsUrl(child: ChildProcess): Promise<string> {
  for await (const line of createInterface(child.stderr!)) {
    const url = /^DevTools listening on (.+)$/.exec(line)?.[1];
    if (url) {
      child.stderr!.resume();
      return url;
    }
  }
  throw new Error(`${PROGRAM} ended before it was ready`);
}

export class ChromiumTab {
  constructor(readonly browser: Chromium, readonly targetId: string, readonly sessionId: string) {}

  call(method: string, params: Result = {}): Promise<Result> {
    return this.browser.call(method, params, this.sessionId);
  }

  /** What an expression of the page comes to, once its promise is settled. */
  async evaluate<T = any>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", {
      expression, awaitPromise: true, returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value as T;
  }

  /** The same, begun again wherever a navigation takes the page away. The expression must do no harm twice. */
  async evaluateSurely<T = any>(expression: string): Promise<T> {
    for (;;) {
      try {
        return await this.evaluate(expression);
      } catch (error) {
        if (!/context|navigat/i.test(String(error))) throw error;
      }
    }
  }

  async reload(): Promise<void> {
    await this.call("Page.reload");
  }

  async navigate(url: string): Promise<void> {
    await this.call("Page.navigate", { url });
  }

  async close(): Promise<void> {
    await this.browser.call("Target.closeTarget", { targetId: this.targetId });
  }

  /** The tab's process dies. The tab stays, as a sad one. */
  crash(): void {
    this.call("Page.crash").catch(() => {});
  }

  async freeze(frozen: boolean): Promise<void> {
    await this.call("Page.setWebLifecycleState", { state: frozen ? "frozen" : "active" });
  }
}
