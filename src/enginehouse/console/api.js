/** The service's own HTTP API, with the key that is kept in this tab's session storage and nowhere else. */

const ROOT = new URL("../", import.meta.url);
const KEY = "enginehouse.key";

/** Something the service refused, or that it did not answer at all (status 0); the message is for people. */
export class ApiError extends Error {
  constructor(status, code, message, requestId = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
  }
}

/** Tells "unauthorized" when a key is wanted, and "key" when another one is used. */
export const door = new EventTarget();

export const key = () => sessionStorage.getItem(KEY);

/** Use this key from now on; null forgets it. */
export function keep(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
  door.dispatchEvent(new Event("key"));
}

/** An address below the service's own. */
export const address = (path) => new URL(path.replace(/^\//, ""), ROOT);

/** The answer itself, once its head is there.
 *  @param {{method, body, headers, signal, as: string, answers: number[]}} how `as` is a key to try, `answers` are
 *      statuses that are no refusals here
 *  @throws {ApiError} it is a refusal, or there is none */
export async function ask(path, { method, body, headers = {}, signal, as, answers = [] } = {}) {
  const held = as ?? key();
  const all = { ...(held ? { Authorization: `Bearer ${held}` } : {}), ...headers };
  if (body !== undefined) all["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(address(path), {
      method: method ?? (body === undefined ? "GET" : "POST"),
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: all,
      signal,
      // Only for what is read: with a body, a browser would ask the service not to answer from its cache either.
      cache: body === undefined ? "no-store" : "default",
      credentials: "omit",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (error instanceof TypeError && /ISO-8859-1|header/i.test(error.message)) {
      throw new ApiError(401, "invalid_api_key", "That is no key: it holds characters that no key has.");
    }
    throw new ApiError(0, "offline", "The service does not answer. Is it running, and is the network there?");
  }
  if (!answer.ok && !answers.includes(answer.status)) throw await refusal(answer);
  return answer;
}

/** The answer's JSON. */
export async function call(path, options) {
  const answer = await ask(path, options);
  return answer.json();
}

/** Server-sent events, as they come: `{id, event, data}` with data as text. Ends when the stream does. */
export async function* events(path, options = {}) {
  const answer = await ask(path, { ...options, headers: { Accept: "text/event-stream", ...options.headers } });
  yield* framesOf(answer);
}

/** The frames of an answer that is an event stream. */
export async function* framesOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      yield* parts.map(frame).filter((one) => one.data !== null);
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

function frame(text) {
  const found = { id: null, event: "message", data: null };
  for (const line of text.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "data") found.data = found.data === null ? value : `${found.data}\n${value}`;
    else if (name) found[name] = value;
  }
  return found;
}

async function refusal(answer) {
  let told = {};
  try {
    told = await answer.json();
  } catch {
    // A proxy in between may answer with a page; its status is all there is to say.
  }
  const error = told.error ?? {};
  const message = typeof error === "string" ? error : error.message;
  const refused = new ApiError(
    answer.status,
    (typeof error === "string" ? told.code : error.code) ?? "",
    message || `The service answered with status ${answer.status}.`,
    answer.headers.get("X-Request-ID"),
  );
  if (answer.status === 401) door.dispatchEvent(new Event("unauthorized"));
  return refused;
}

/** A segment of a path; the slashes of an id are part of it. */
export const segment = encodeURIComponent;
