// The protocol as data: how envelopes become a WebSocket message, and the other way round.

import type { Envelope } from "./api.js";

// Codes that a WebSocket is closed with, and that mean something to us; after any other the session is kept.
export const VIOLATED_POLICY = 1008;
export const UNEXPECTED_CONDITION = 1011;
export const SERVICE_RESTART = 1012;
export const CLOSE_SESSION = 4000;
export const SESSION_LOST = 4001;
export const RECONNECT = 4002;
export const DISCONNECT = 4003;
export const PROTOCOL_ERROR = 4004;

/** A receipt: ACK or NACK of a server's message, or ACK2 of its answer to one of ours. */
export interface Receipt {
  t: "ACK" | "NACK" | "ACK2";
  id: string;
  desc?: string;
}

/** Reads a WebSocket message. Throws if it is not an array of envelopes. */
export function parsePipeline(data: unknown): Envelope[] {
  const pipeline: unknown = typeof data === "string" ? JSON.parse(data) : undefined;
  if (!Array.isArray(pipeline) || !pipeline.every((envelope) => typeof envelope?.t === "string")) {
    throw new Error("it is not an array of envelopes");
  }
  return pipeline;
}

/** Prints an envelope whose payload is JSON already, so that it is serialised once only. */
export function printEnvelope(envelope: Envelope, payload?: string): string {
  const head = JSON.stringify(envelope);
  return payload === undefined ? head : `${head.slice(0, -1)},"msg":${payload}}`;
}

/** The ids that a receipt of the server names; clients number their messages as they like. */
export function idsOf(envelope: Envelope, key: "cmid" | "smid"): string[] {
  const single = envelope[key];
  return [...(single === undefined ? [] : [single]), ...(envelope.ids ?? [])].map(String);
}

/** Receipts of one kind share an envelope; those with a description keep their own. */
export function mergeReceipts(receipts: Receipt[]): Envelope[] {
  const merged: Envelope[] = [];
  for (const t of ["ACK", "NACK", "ACK2"] as const) {
    const key = t === "ACK2" ? "cmid" : "smid";
    const ofKind = receipts.filter((receipt) => receipt.t === t);
    for (const { id, desc } of ofKind) {
      if (desc !== undefined) merged.push({ t, [key]: id, desc });
    }
    const ids = [...new Set(ofKind.filter(({ desc }) => desc === undefined).map(({ id }) => id))];
    if (ids.length > 0) merged.push(ids.length === 1 ? { t, [key]: ids[0]! } : { t, ids });
  }
  return merged;
}
