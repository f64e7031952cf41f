// The module's face.

import type { Api, Client, ConnectOptions, WebSocketClass } from "./api.js";
import { TabClient } from "./client.js";
import { platform } from "./environment.js";

export * from "./api.js";
export * from "./errors.js";

/**
 * Connects to a cluster: one URL per node, such as `wss://node1.example.org/matssocket`.
 *
 * ```ts
 * const client = connect(["wss://example.org/matssocket"], {
 *   app: "Shop", version: "1.0", user: "anna", authorize: () => fetchToken(),
 * });
 * client.terminator("Shop.news", (news) => console.log(news));
 * const receipt = await client.request("Orders.place", { item: "apples", pieces: 3 });
 * for await (const price of client.topic("prices/1")) show(price);
 * ```
 */
export function connect<A extends Api = Api>(urls: string | readonly string[], options: ConnectOptions): Client<A> {
  const list = typeof urls === "string" ? [urls] : [...urls];
  if (list.length === 0) throw new TypeError("connect() needs at least one URL");
  const environment = platform(options.WebSocket as WebSocketClass | undefined);
  return new TabClient(environment, list, options) as Client as Client<A>;
}
