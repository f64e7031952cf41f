// The journal in IndexedDB: who may write, and what becomes of what is interrupted.

import assert from "node:assert/strict";
import { test } from "node:test";
import "fake-indexeddb/auto";
import { IDBFactory as FakeIndexedDB } from "fake-indexeddb";
import { FencedError, IndexedDbJournal } from "../../src/durable/indexeddb.js";
import type { Delivery, Entry } from "../../src/messages.js";
import { settle } from "../kit/clock.js";

function opener() {
  const factory: IDBFactory = new FakeIndexedDB();
  return () => IndexedDbJournal.open(factory, "test", () => {}, () => {});
}

const entry = (id: string): Entry => ({
  key: 0, id, t: "SEND", text: "{}", tab: "tab", endpoint: "X", traceId: "t", at: 0, session: "",
});
const delivery = (id: string, order: number): Delivery => ({ id, order, t: "SEND", endpoint: "T", traceId: "t", payload: 1 });

test("whoever led before writes no more, in any tab", async () => {
  const open = opener();
  const [first, second] = [await open(), await open()];
  const before = await first.lead();
  await before.journal.commit([["meta", "sessionId", "S1"]]);
  const after = await second.lead();
  assert.equal(after.sessionId, "S1");
  await assert.rejects(before.journal.commit([["meta", "sessionId", "S2"]]), FencedError);
  const again = await first.lead();
  await assert.rejects(after.journal.commit([["meta", "sessionId", "S3"]]), FencedError);
  await assert.rejects(before.journal.commit([]), FencedError, "also in the same tab");
  assert.equal(again.sessionId, "S1", "nothing of what was refused is kept");
});

test("a delivery is open while its epoch holds and nobody has finished it", async () => {
  const journal = await opener()();
  const { epoch, journal: writer } = await journal.lead();
  await writer.commit([["inbox", "s1", delivery("s1", 1)], ["inbox", "s2", delivery("s2", 2)]]);
  await journal.finish("s1");
  assert.deepEqual([await journal.isOpen("s1", epoch), await journal.isOpen("s2", epoch)], [false, true]);
  await journal.lead();
  assert.equal(await journal.isOpen("s2", epoch), false, "it belongs to the next leader");
});

test("keys follow the order in which tabs put their messages in, and are never used again", async () => {
  const open = opener();
  const [first, second] = [await open(), await open()];
  const entries = ["a", "b", "c"].map(entry);
  await Promise.all(entries.map((one, nth) => (nth % 2 ? second : first).add(one)));
  assert.deepEqual(entries.map(({ key }) => key), [1, 2, 3]);
  assert.deepEqual((await first.since(1)).map(({ key, id }) => [key, id]), [[2, "b"], [3, "c"]]);
  const { journal } = await first.lead();
  await journal.commit([["outbox", 1], ["outbox", 2], ["outbox", 3]]);
  const next = entry("d");
  await second.add(next);
  assert.equal(next.key, 4);
});

test("an answer is stored with the end of its delivery, or neither is", async () => {
  const journal = await opener()();
  const { journal: writer } = await journal.lead();
  await writer.commit([["inbox", "s1", delivery("s1", 1)]]);
  const uncloneable = { ...entry("a"), correlation: () => {} };
  await assert.rejects(journal.add(uncloneable, "s1"));
  assert.equal((await journal.lead()).inbox.length, 1);
  await journal.add(entry("a"), "s1");
  const { inbox, outbox } = await journal.lead();
  assert.deepEqual([inbox.length, outbox.map(({ id }) => id)], [0, ["a"]]);
});

test("what a freeze interrupts has no effect until the page runs again, and then has it once", async () => {
  const open = opener();
  const [frozen, other] = [await open(), await open()];
  const { journal: writer } = await frozen.lead();
  const interrupted = frozen.add(entry("a"));
  const refused = assert.rejects(writer.commit([["meta", "sessionId", "S1"]]), FencedError);
  frozen.freeze();
  const begun = frozen.add(entry("b"));
  await settle();
  assert.equal((await other.lead()).outbox.length, 0, "and the others are not held up");
  frozen.resume();
  await Promise.all([interrupted, begun, refused]);
  assert.deepEqual((await other.since(0)).map(({ id }) => id).sort(), ["a", "b"]);
});

test("a wipe leaves nothing but a higher epoch", async () => {
  const journal = await opener()();
  const { journal: writer, epoch } = await journal.lead();
  await writer.commit([["meta", "sessionId", "S1"], ["seen", "s1", "ACK"], ["inbox", "s1", delivery("s1", 1)]]);
  await journal.add(entry("a"));
  await journal.wipe();
  await assert.rejects(writer.commit([]), FencedError);
  const { epoch: next, sessionId, outbox, seen, inbox } = await journal.lead();
  assert.deepEqual([next > epoch, sessionId, outbox, seen, inbox], [true, undefined, [], [], []]);
});
