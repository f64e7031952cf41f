// What can go wrong with a message, as types that a program can tell apart.

/** What went wrong, for a `switch`. */
export type ErrorCode =
  | "refused" | "rejected" | "retries-exhausted" | "timeout" | "closed" | "unauthorized"
  | "unknown" | "not-stored" | "limit";

/** The base of every error that this client raises. */
export class MatsSocketError extends Error {
  // Written out, since minifiers rename classes.
  override name = "MatsSocketError";
  /** What went wrong, for a `switch`. */
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The server refused the message (NACK): it was not handled, and never will be. */
export class RefusedError extends MatsSocketError {
  override name = "RefusedError";
  constructor(message: string) {
    super("refused", message);
  }
}

/** The endpoint answered with a REJECT, which may carry a payload of its own. */
export class RejectedError<T = any> extends MatsSocketError {
  override name = "RejectedError";
  /** What the endpoint says about it. */
  readonly payload: T;

  constructor(message: string, payload: T) {
    super("rejected", message);
    this.payload = payload;
  }
}

/** The server asked for the message again and again (RETRY), and never took it. */
export class RetriesExhaustedError extends MatsSocketError {
  override name = "RetriesExhaustedError";
  constructor(message: string) {
    super("retries-exhausted", message);
  }
}

/** No answer in time. The request may or may not be handled yet. */
export class TimeoutError extends MatsSocketError {
  override name = "TimeoutError";
  constructor(message: string) {
    super("timeout", message);
  }
}

/** The session or the client was closed first. What was under way may or may not have been handled. */
export class ClosedError extends MatsSocketError {
  override name = "ClosedError";
  /** The WebSocket close code, where the server ended the session. */
  readonly closeCode: number | undefined;

  constructor(message: string, closeCode?: number, code: "closed" | "unauthorized" = "closed") {
    super(code, message);
    this.closeCode = closeCode;
  }
}

/** The server does not accept the authorization, or the topic is not for this user. */
export class UnauthorizedError extends ClosedError {
  override name = "UnauthorizedError";
  constructor(message: string, closeCode?: number) {
    super(message, closeCode, "unauthorized");
  }
}

/**
 * The server lost the session while the message was under way, so nobody can tell whether it was handled.
 * A client that persists keeps it: see `client.unresolved()`.
 */
export class UnknownOutcomeError extends MatsSocketError {
  override name = "UnknownOutcomeError";
  constructor(message: string) {
    super("unknown", message);
  }
}

/** The message could not be stored here (the disk is full, say), and was not sent. */
export class NotStoredError extends MatsSocketError {
  override name = "NotStoredError";
  constructor(message: string, options?: ErrorOptions) {
    super("not-stored", message, options);
  }
}

/** The message is too large, or too many are outstanding. Nothing was queued. */
export class LimitError extends MatsSocketError {
  override name = "LimitError";
  constructor(message: string) {
    super("limit", message);
  }
}
