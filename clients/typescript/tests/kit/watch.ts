// What tests wait for at a client.

import type { Client, ConnectionState } from "../../src/api.js";

/** Waits until the client is in a state. */
export function reaches(client: Client, fits: (state: ConnectionState) => boolean): Promise<ConnectionState> {
  return new Promise((resolve) => {
    const end = client.on("state", (state) => {
      if (!fits(state)) return;
      end();
      resolve(state);
    });
    if (fits(client.state.value)) resolve(client.state.value);
  });
}

/** Messages of a terminator, by their number, and when there are enough. */
export function collect(client: Client, id: string) {
  const got: number[] = [];
  let check = () => {};
  client.terminator(id, ({ number }: { number: number }) => {
    got.push(number);
    check();
  });
  const enough = (count: number) => new Promise<void>((resolve) => {
    check = () => {
      if (got.length >= count) resolve();
    };
    check();
  });
  return { got, enough };
}
