// The small parts of the core.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Receipts } from "../../src/core/receipts.js";
import { idsOf, mergeReceipts, parsePipeline, printEnvelope, type Receipt } from "../../src/wire.js";

test("an envelope is printed with its payload as it is", () => {
  assert.equal(printEnvelope({ t: "SEND", cmid: "1" }, '{"a":1.0}'), '{"t":"SEND","cmid":"1","msg":{"a":1.0}}');
  assert.equal(printEnvelope({ t: "PING", x: 1 }), '{"t":"PING","x":1}');
});

test("a pipeline is an array of envelopes", () => {
  assert.deepEqual(parsePipeline('[{"t":"PONG","x":1}]'), [{ t: "PONG", x: 1 }]);
  for (const bad of ["", "[", "{}", "[1]", "[{}]", new ArrayBuffer(1)]) assert.throws(() => parsePipeline(bad));
});

test("ids are read from either place, whatever their type", () => {
  assert.deepEqual(idsOf({ t: "ACK", cmid: 1 as never }, "cmid"), ["1"]);
  assert.deepEqual(idsOf({ t: "ACK", ids: ["a", 2 as never] }, "cmid"), ["a", "2"]);
});

test("receipts are merged by kind, without repeats; those with a description stand alone", () => {
  const receipts: Receipt[] = [
    { t: "ACK", id: "s1" }, { t: "ACK2", id: "1" }, { t: "NACK", id: "s2", desc: "no" }, { t: "ACK", id: "s1" },
    { t: "ACK2", id: "2" },
  ];
  assert.deepEqual(mergeReceipts(receipts), [
    { t: "ACK", smid: "s1" }, { t: "NACK", smid: "s2", desc: "no" }, { t: "ACK2", ids: ["1", "2"] },
  ]);
});

test("of a lost line, ACK2s go again and ACKs do not", () => {
  const receipts = new Receipts();
  receipts.add({ t: "ACK2", id: "1" }, 10);
  receipts.take();
  receipts.add({ t: "ACK", id: "s1" }, 20);
  receipts.add({ t: "ACK2", id: "2" }, 20);
  receipts.newLine(30);
  assert.equal(receipts.due, 30);
  assert.deepEqual(receipts.take(), [{ t: "ACK2", ids: ["1", "2"] }]);
});
