import type { Message, Topic } from "./api.js";
import { LimitError, UnauthorizedError } from "./errors.js";

type Listener<T> = (payload: T, message: Message<T>) => void;

/** Messages that may wait for a slow loop. */
const MAX_WAITING = 10_000;

/** What listens to one topic. */
export interface Subscriber {
  next(message: Message): void;
  /** The server does not allow it. */
  denied(): void;
}

/** A topic that subscribes when somebody listens. `add` gives what ends that. */
export function topicOf<T>(name: string, add: (subscriber: Subscriber) => () => void): Topic<T> {
  return {
    subscribe(listener: Listener<T>) {
      return add({ next: (message) => listener(message.payload, message), denied() {} });
    },
    [Symbol.asyncIterator]: () => iterate<T>(name, add),
  };
}

/** Messages wait for the loop, up to a limit; beyond that the loop fails rather than miss some silently. */
function iterate<T>(name: string, add: (subscriber: Subscriber) => () => void): AsyncIterator<T, undefined> {
  const waiting: T[] = [];
  let wanted: { resolve(result: IteratorResult<T, undefined>): void; reject(error: unknown): void } | undefined;
  let failure: Error | undefined;
  let ended = false;
  const fail = (error: Error) => {
    failure = error;
    end();
    wanted?.reject(error);
    wanted = undefined;
  };
  const end = add({
    next({ payload }) {
      if (wanted) {
        wanted.resolve({ value: payload, done: false });
        wanted = undefined;
      } else if (waiting.push(payload) > MAX_WAITING) {
        fail(new LimitError(`the loop over topic "${name}" is too slow: ${MAX_WAITING} messages wait`));
      }
    },
    denied: () => fail(new UnauthorizedError(`the topic "${name}" is not allowed`)),
  });
  return {
    next() {
      return new Promise((resolve, reject) => {
        if (waiting.length > 0 && !ended) resolve({ value: waiting.shift()!, done: false });
        else if (failure) reject(failure);
        else if (ended) resolve({ value: undefined, done: true });
        else wanted = { resolve, reject };
      });
    },
    async return() {
      ended = true;
      end();
      wanted?.resolve({ value: undefined, done: true });
      return { value: undefined, done: true };
    },
  };
}
