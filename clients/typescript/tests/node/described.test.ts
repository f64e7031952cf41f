// From the types of a server to those of a page: the server prints what it takes and says, `matssocket types` makes types
// of it, and the compiler holds a page against them.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, test } from "node:test";
import { Ajv } from "ajv";
import formats from "ajv-formats";

const PROGRAMS = resolve(process.env["MATSSOCKET_PROGRAMS"] ?? "../../target/debug");
const directory = mkdtempSync(join(tmpdir(), "matssocket-types-"));
after(() => rmSync(directory, { recursive: true }));

const PAGE = `
import { connect, RejectedError, type Rejection } from ${JSON.stringify(resolve("dist/matssocket.js"))};
import type { Api, Order } from "./api.js";

const order: Order = {
  item: "apples", pieces: 3, shipTo: { street: "Main Street 1" }, paid: { by: "card", number: "1" }, labels: { a: "b" },
  sizes: [1, 2, 3], range: [1, "2"], stockByShelf: { 1: 2 }, anything: { at: ["all"] },
  "a b": ["Small", { Other: "tiny" }, null],
};

export async function page(): Promise<string> {
  const client = connect<Api>("wss://example.org", { app: "page", version: "1", authorize: "token" });
  const receipt = await client.request("Orders.place", order);
  // Where the server writes it, no field is missing.
  const town: string = receipt.ship_to.town;
  client.send("Visits.end", "bye");
  client.send("Visits.begin", { not: "described" });
  client.terminator("Shop.news", (news) => news.toUpperCase());
  client.endpoint("Shop.stock", (item) => item.length);
  for await (const { cents, before } of client.topic("prices/1")) if (before !== null) (cents - before).toFixed();
  try {
    await client.request("Orders.free", town);
  } catch (error) {
    if (error instanceof RejectedError) {
      const why: Rejection<Api, "Orders.place"> = error.payload;
      return why === "SoldOut" ? "sold out" : why satisfies "TooMany";
    }
  }
  return receipt.number.toFixed();
}
`;

function described(...options: string[]): string {
  return execFileSync(join(PROGRAMS, "examples/described"), options, { encoding: "utf8" });
}

function types(...options: string[]): { status: number | null; stderr: string } {
  return spawnSync(join(PROGRAMS, "matssocket"), ["types", ...options], { cwd: directory, encoding: "utf8" });
}

/** What the compiler says of a page; empty if it has no complaint. */
function complaints(page: string): string {
  writeFileSync(join(directory, "page.ts"), page);
  const compilerOptions = {
    noEmit: true, strict: true, target: "ES2022", module: "NodeNext", lib: ["ES2022", "DOM"], types: [],
    exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true,
  };
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.ts"] }));
  writeFileSync(join(directory, "package.json"), JSON.stringify({ type: "module" }));
  const tsc = createRequire(import.meta.url).resolve("typescript/package.json").replace("package.json", "bin/tsc");
  return spawnSync(process.execPath, [tsc, "--project", directory], { encoding: "utf8" }).stdout;
}

test("the document is one of AsyncAPI 3.0, and always the same", () => {
  const text = described();
  assert.equal(described(), text);
  const specification = createRequire(import.meta.url)("@asyncapi/specs/schemas/3.0.0-without-$id.json");
  const ajv = new Ajv({ strict: false, unicodeRegExp: false, allErrors: true });
  formats.default(ajv);
  const compiled = ajv.compile(specification);
  const valid = (it: unknown): boolean => compiled(it);
  const document = JSON.parse(text);
  assert.ok(valid(document), JSON.stringify(compiled.errors, null, 1));
  delete document.info.version;
  assert.ok(!valid(document), "this test would not notice");
});

test("a page that fits the server compiles; once the server's type has changed, it does not", { timeout: 120_000 }, () => {
  writeFileSync(join(directory, "schema.json"), described());
  const arguments_ = ["--schema", "schema.json", "--out", "api.ts"];
  assert.match(types(...arguments_, "--check").stderr, /api\.ts is not current: run matssocket types/);
  assert.equal(types(...arguments_).status, 0);
  assert.equal(types(...arguments_, "--check").status, 0);
  assert.equal(complaints(PAGE), "");

  for (const [right, wrong, complaint] of [
    ["\"Orders.place\", order", "\"Orders.plase\", order", /"Orders\.plase"/],
    ["pieces: 3", "pieces: \"3\"", /Type 'string' is not assignable to type 'number'/],
    ["by: \"card\", number: \"1\"", "by: \"card\"", /number/],
    ["\"prices/1\"", "\"price/1\"", /"price\/1"/],
    ["ship_to.town", "ship_to.city", /city/],
    ["item.length", "item", /Type 'string' is not assignable/],
  ] as const) {
    assert.ok(PAGE.includes(right));
    assert.match(complaints(PAGE.replace(right, wrong)), complaint);
  }

  writeFileSync(join(directory, "schema.json"), described("--changed"));
  const stale = types(...arguments_, "--check");
  assert.equal(stale.status, 1);
  assert.match(stale.stderr, /api\.ts is not current/);
  assert.equal(types(...arguments_).status, 0);
  assert.match(readFileSync(join(directory, "api.ts"), "utf8"), /reply: ChangedReceipt/);
  assert.match(complaints(PAGE), /'ship_to' does not exist on type/);
});
