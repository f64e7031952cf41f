// Real nodes of the example server, and a proxy that loses lines.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { atExit } from "./cleanup.js";

const PROGRAMS = process.env["MATSSOCKET_PROGRAMS"] ?? "../../target/debug";
/** What `cargo build --example conformance` makes. */
const PROGRAM = join(PROGRAMS, "examples/conformance");

/** One process of the example server, with one node or several, on a database that outlives it. */
export class Nodes {
  readonly #directory = mkdtempSync(join(tmpdir(), "matssocket-nodes-"));
  #process: ChildProcess | undefined;
  /** Of each node. The ports stay the same when the process starts again. */
  ports: number[] = [];

  constructor(readonly count = 1) {}

  get urls(): string[] {
    return this.ports.map((port) => `ws://127.0.0.1:${port}/matssocket`);
  }

  async start(): Promise<this> {
    const ports = this.ports.length > 0 ? this.ports : Array<number>(this.count).fill(0);
    const child = spawn(PROGRAM, ["--ports", ports.join(","), "--database", join(this.#directory, "nodes.db")], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#process = child;
    const forget = atExit(() => child.kill("SIGKILL"));
    child.once("exit", forget);
    const ready: number[] = [];
    const failed = once(child, "error").then(([error]) => {
      throw error;
    });
    const lines = (async () => {
      for await (const line of createInterface(child.stdout!)) {
        const port = /^ready ws:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1];
        if (port && ready.push(Number(port)) === this.count) return;
      }
      throw new Error(`${PROGRAM} ended before it was ready`);
    })();
    await Promise.race([lines, failed]);
    this.ports = ready;
    return this;
  }

  /** As a crash would. */
  async kill(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    const child = this.#process!;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  async end(): Promise<void> {
    if (this.#process?.exitCode === null && this.#process.signalCode === null) await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** The demo of the program `matssocket`: two nodes, and their page. */
export class Demo {
  readonly #directory = mkdtempSync(join(tmpdir(), "matssocket-demo-"));
  #process: ChildProcess | undefined;
  /** Where each node serves the page. */
  urls: string[] = [];

  async start(): Promise<this> {
    const program = resolve(PROGRAMS, "matssocket");
    const child = spawn(program, ["--ports", "0,0"], { cwd: this.#directory, stdio: ["ignore", "pipe", "inherit"] });
    this.#process = child;
    const forget = atExit(() => child.kill("SIGKILL"));
    child.once("exit", forget);
    for await (const line of createInterface(child.stdout!)) {
      const url = /http:\/\/127\.0\.0\.1:\d+\//.exec(line)?.[0];
      if (url) this.urls.push(url);
      if (line.startsWith("Ctrl-C")) {
        child.stdout!.resume();
        return this;
      }
    }
    throw new Error(`${program} ended before it was ready`);
  }

  async end(): Promise<void> {
    const ended = once(this.#process!, "exit");
    if (this.#process!.kill("SIGKILL")) await ended;
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** A server with a dashboard and something to look at. */
export class Watched {
  #process: ChildProcess | undefined;
  /** Where the dashboard is. Its password is `tests`. */
  url = "";

  async start(...words: string[]): Promise<this> {
    const program = join(PROGRAMS, "examples/watched");
    const child = spawn(program, words, { stdio: ["ignore", "pipe", "inherit"] });
    this.#process = child;
    const forget = atExit(() => child.kill("SIGKILL"));
    child.once("exit", forget);
    for await (const line of createInterface(child.stdout!)) {
      const url = /^ready (http:\/\/\S+)$/.exec(line)?.[1];
      if (!url) continue;
      this.url = url;
      child.stdout!.resume();
      return this;
    }
    throw new Error(`${program} ended before it was ready`);
  }

  async end(): Promise<void> {
    const ended = once(this.#process!, "exit");
    if (this.#process!.kill("SIGKILL")) await ended;
  }
}

/** Stands between client and node, and loses lines. */
export class Proxy {
  readonly #server: Server;
  readonly #lines = new Set<Socket>();
  /** What the clients have sent so far, in bytes. */
  bytes = 0;
  accepting = true;
  /** Answers every HTTP request so, as a captive portal or a proxy without a node does. */
  answer: string | undefined;
  port = 0;

  constructor(target: () => number) {
    this.#server = createServer((client) => {
      if (!this.accepting) {
        client.resetAndDestroy();
        return;
      }
      const { answer } = this;
      if (answer !== undefined) {
        client.on("error", () => {});
        client.once("data", () => client.end(answer));
        return;
      }
      const node = connect(target(), "127.0.0.1");
      for (const socket of [client, node]) {
        this.#lines.add(socket);
        socket.on("error", () => {});
        socket.on("close", () => {
          this.#lines.delete(socket);
          client.destroy();
          node.destroy();
        });
      }
      client.on("data", (data) => (this.bytes += data.length));
      client.pipe(node).pipe(client);
    });
  }

  async start(): Promise<this> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.port = (this.#server.address() as { port: number }).port;
    return this;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/matssocket`;
  }

  /** Every line is lost, whatever is on its way. */
  cut(): void {
    for (const line of this.#lines) line.resetAndDestroy();
  }

  end(): void {
    this.#server.close();
    this.cut();
  }
}
