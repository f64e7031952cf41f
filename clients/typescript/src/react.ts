// Hooks for React. A module of its own, which imports nothing of the client but types.

import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { Api, Client, ConnectionState, Message, Observable } from "./api.js";

type Id<T> = keyof T & string;

/** Where a client stands, with its figures. */
export interface Connection extends ConnectionState {
  /** Whether the session is there, so that messages leave at once. */
  connected: boolean;
  /** Milliseconds from the last PING to its PONG. */
  roundTrip: number | undefined;
  /** Messages of this tab that the server has not taken yet, and requests without an answer. */
  outstanding: number;
}

/**
 * Renders again whenever the client's connection changes.
 *
 * ```tsx
 * const { connected, outstanding } = useConnection(client);
 * return <p>{connected ? "online" : `offline, ${outstanding} waiting`}</p>;
 * ```
 */
export function useConnection<A extends Api = Api>(client: Client<A>): Connection {
  const state = useObservable(client.state);
  const roundTrip = useObservable(client.roundTrip);
  const outstanding = useObservable(client.outstanding);
  return { ...state, connected: state.status === "established", roundTrip, outstanding };
}

function useObservable<T>(observable: Observable<T>): T {
  const subscribe = useCallback((changed: () => void) => observable.subscribe(changed), [observable]);
  const value = () => observable.value;
  return useSyncExternalStore(subscribe, value, value);
}

/** What `useRequest` knows of its request. */
export interface RequestResult<T> {
  /** The payload of the last answer to this very request. It stays while the request is made again. */
  data: T | undefined;
  /** Why the last attempt failed: an error of the client's module. */
  error: unknown;
  /** Whether an answer is awaited. */
  pending: boolean;
  /** Makes the request again. */
  reload(): void;
}

/** How `useRequest` makes its request. */
export interface UseRequestOptions {
  /** How long to wait for the answer, in milliseconds. Default: the client's. */
  timeout?: number | undefined;
  /** `false` makes no request until it is true. Default: true. */
  enabled?: boolean | undefined;
}

/**
 * Makes a request when the component appears, and whenever id or payload change (as JSON prints them). It is taken back
 * when the component goes. This is for what a component shows; call `client.request` from event handlers for the rest.
 *
 * ```tsx
 * const { data, error, pending } = useRequest(client, "Orders.list", { user });
 * ```
 */
export function useRequest<A extends Api, K extends Id<A["endpoints"]>>(
  client: Client<A>, id: K, payload: A["endpoints"][K]["request"], options: UseRequestOptions = {},
): RequestResult<A["endpoints"][K]["reply"]> {
  const { timeout, enabled = true } = options;
  const text = JSON.stringify(payload);
  const key = `${id} ${text}`;
  const [round, setRound] = useState(0);
  const [last, setLast] = useState<{ client: Client<A>; key: string; round: number; data?: any; error?: unknown }>();
  useEffect(() => {
    if (!enabled) return;
    const controller = new AbortController();
    const { signal } = controller;
    const sent = text === undefined ? undefined : JSON.parse(text);
    client.request(id, sent, { signal, timeout }).then(
      (data) => setLast({ client, key, round, data }),
      (error: unknown) => {
        if (signal.aborted) return;
        setLast((before) => ({ client, key, round, data: before?.key === key ? before.data : undefined, error }));
      },
    );
    return () => controller.abort();
  }, [client, key, round, enabled, timeout]);
  const reload = useCallback(() => setRound((before) => before + 1), []);
  const mine = last?.client === client && last.key === key ? last : undefined;
  return { data: mine?.data, error: mine?.error, pending: enabled && mine?.round !== round, reload };
}

/** What `useTopic` knows of its topic. */
export interface TopicResult<T> {
  /** The last payload that came while the component was there. */
  latest: T | undefined;
  /** Whether the server does not allow this topic to this user. */
  denied: boolean;
}

/**
 * Subscribes to a topic while the component is there. Renders again with each message, and calls the listener, if there
 * is one, for each of them.
 *
 * ```tsx
 * const { latest: price } = useTopic(client, "prices/1");
 * useTopic(client, "chat", (line) => setLines((lines) => [...lines, line]));
 * ```
 */
export function useTopic<A extends Api, K extends Id<A["topics"]>>(
  client: Client<A>, id: K, listener?: (payload: A["topics"][K], message: Message<A["topics"][K]>) => void,
): TopicResult<A["topics"][K]> {
  const [last, setLast] = useState<{ client: Client<A>; id: K; latest?: any; denied: boolean }>();
  // The newest one, without a new subscription for each render.
  const current = useRef(listener);
  useEffect(() => {
    current.current = listener;
  });
  useEffect(() => {
    const forget = client.on("topic", ({ topic, outcome }) => {
      if (topic === id && outcome === "denied") setLast({ client, id, denied: true });
    });
    const unsubscribe = client.topic(id).subscribe((latest, message) => {
      setLast({ client, id, latest, denied: false });
      current.current?.(latest, message);
    });
    return () => {
      unsubscribe();
      forget();
    };
  }, [client, id]);
  const mine = last?.client === client && last.id === id ? last : undefined;
  return { latest: mine?.latest, denied: mine?.denied ?? false };
}
