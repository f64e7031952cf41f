// The site that the browser's pages come from, which also keeps their records.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage } from "node:http";

const DIST = new URL("../../../dist/", import.meta.url);
const PAGE = new URL("../../../tests/browser/", import.meta.url);

/** One thing that a page has recorded. */
export interface Record {
  what: string;
  page: string;
  [field: string]: unknown;
}

export class Site {
  readonly records: Record[] = [];
  readonly #server = createServer((request, response) => {
    void this.#answer(request).then(
      ({ type, body }) => response.writeHead(200, { "Content-Type": type, "Cache-Control": "no-store" }).end(body),
      (error: unknown) => response.writeHead(404).end(String(error)),
    );
  });
  #watchers = new Set<() => void>();
  url = "";

  async start(): Promise<this> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
    return this;
  }

  async #answer(request: IncomingMessage): Promise<{ type: string; body: string | Buffer }> {
    const { pathname } = new URL(request.url!, this.url);
    if (pathname === "/record") {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      this.records.push(JSON.parse(Buffer.concat(chunks).toString()));
      for (const watcher of [...this.#watchers]) watcher();
      return { type: "text/plain", body: "" };
    }
    const script = pathname.endsWith(".js");
    const body = await readFile(script ? new URL(`.${pathname}`, DIST) : new URL("page.html", PAGE));
    return { type: script ? "text/javascript" : "text/html", body };
  }

  /** Waits until the records fit; fails after so many milliseconds, telling what is the matter. */
  until(fits: (records: Record[]) => boolean, millis: number, what: () => string): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(check);
        settle();
      };
      const check = () => {
        if (fits(this.records)) end(resolve);
      };
      const timer = setTimeout(() => end(() => reject(new Error(`after ${millis} ms: ${what()}`))), millis);
      this.#watchers.add(check);
      check();
    });
  }

  async end(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
