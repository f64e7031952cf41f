// What the compiler has to accept and to refuse, against the declarations that are published. It is compiled, not run.

import { connect, RejectedError, type Client, type Rejection } from "../dist/matssocket.js";
import { useConnection, useRequest, useTopic } from "../dist/react.js";

interface Shop {
  endpoints: {
    "Orders.place": { request: { item: string; pieces: number }; reply: { number: number }; reject: "sold out" };
    "Orders.list": { request: null; reply: number[] };
  };
  terminators: { "Visits.end": string };
  topics: { "prices/1": { price: number }; [topic: `stock/${string}`]: number };
  clientEndpoints: { "Shop.stock": { request: string; reply: number } };
  clientTerminators: { "Shop.news": string };
}

export async function typed(): Promise<void> {
  await using client = connect<Shop>("wss://example.org/matssocket", { app: "Shop", version: "1", authorize: "token" });
  const { number } = await client.request("Orders.place", { item: "apples", pieces: 3 });
  number.toFixed();
  // @ts-expect-error: a payload that lacks something
  await client.request("Orders.place", { item: "apples" });
  // @ts-expect-error: an endpoint that is not there
  await client.request("Orders.cancel", {});
  // @ts-expect-error: an answer that has no such field
  (await client.request("Orders.place", { item: "apples", pieces: 3 })).total;
  await client.send("Visits.end", "bye").accepted;
  // @ts-expect-error: a payload of another type
  await client.send("Visits.end", 1);
  for await (const { price } of client.topic("prices/1")) price.toFixed();
  for await (const pieces of client.topic("stock/apples")) pieces.toFixed();
  // @ts-expect-error: a topic that is not there
  client.topic("prices");
  client.terminator("Shop.news", (news, { traceId }) => `${news.toUpperCase()} ${traceId}`);
  client.endpoint("Shop.stock", async (item) => item.length);
  // @ts-expect-error: an answer of another type
  client.endpoint("Shop.stock", () => "many");
}

export function rejected(error: RejectedError): string {
  const why: Rejection<Shop, "Orders.place"> = error.payload;
  // @ts-expect-error: nothing that this endpoint rejects with
  if (why === "too many") return why;
  const open: Rejection<Shop, "Orders.list"> = error.payload;
  // @ts-expect-error: nobody has said what that is
  return why + open.length;
}

export function hooks(client: Client<Shop>): string {
  const { connected, retryAt } = useConnection(client);
  const { data, pending, reload } = useRequest(client, "Orders.place", { item: "apples", pieces: 3 }, { enabled: connected });
  // @ts-expect-error: there is none before it is there
  data.number.toFixed();
  // @ts-expect-error: a payload that lacks something
  useRequest(client, "Orders.place", { item: "apples" });
  // @ts-expect-error: an endpoint that is not there
  useRequest(client, "Orders.cancel", {});
  const { latest, denied } = useTopic(client, "prices/1", ({ price }, { traceId }) => `${price.toFixed()} ${traceId}`);
  // @ts-expect-error: a topic that is not there
  useTopic(client, "prices");
  useTopic(client, "stock/apples", (pieces) => pieces.toFixed());
  // @ts-expect-error: a payload of another type
  useTopic(client, "stock/apples", (pieces) => pieces.length);
  if (!denied) reload();
  return `${data?.number.toFixed()} ${pending} ${retryAt?.toFixed()} ${latest?.price.toFixed()}`;
}

export async function untyped(client: Client): Promise<string> {
  const answer: string = await client.request("Anything", { at: "all" });
  client.terminator("Anything", (payload) => payload.field);
  client.on("state", ({ status }) => {
    // @ts-expect-error: not a status
    if (status === "nothing") return;
  });
  try {
    await client.request("Anything", 1, { signal: AbortSignal.timeout(100), timeout: 50 });
  } catch (error) {
    if (error instanceof RejectedError) return error.payload;
  }
  return answer;
}
