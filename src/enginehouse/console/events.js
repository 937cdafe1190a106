/** One stream of events for the whole console: opened at sign-in, taken up again where it broke off.
 *
 *  A tab that nobody looks at hangs up after a while: over HTTP/1.1 a browser has six connections to a service for all
 *  of its tabs. */

import { events } from "./api.js";

const STREAM = "v1/events";
const PAUSES = [500, 1000, 2000, 5000, 10_000];
const SECONDS = 300;
const UNSEEN = 10_000;

/** "off", "opening", "live" or "broken"; tells "change" when it changes. */
export const link = Object.assign(new EventTarget(), { state: "off" });

/** How things stand, as far as the stream has told: models and queues by id, the figures of now and of the last five
 *  minutes, the oldest first. */
export const now = { models: {}, queues: {}, figures: null, history: [], scope: null };

/** What each event changes of that. */
const LEARNS = {
  full_status: (told) => Object.assign(now, told),
  model_update: (told) => (now.models[told.model_id] = told),
  queue_update: (told) => Object.assign(now.queues, told.queues),
  figures(told) {
    now.figures = told;
    now.history.push(told);
    now.history.splice(0, now.history.length - SECONDS);
  },
};

const readers = new Map();
let running = null;
let held = new AbortController();
let unseen = 0;

document.addEventListener("visibilitychange", () => {
  clearTimeout(unseen);
  if (document.hidden) unseen = setTimeout(() => held.abort(), UNSEEN);
});

/** Hear every event of this name, as parsed data, until the signal is aborted. */
export function hear(name, signal, listener) {
  const all = readers.get(name) ?? readers.set(name, new Set()).get(name);
  all.add(listener);
  signal.addEventListener("abort", () => all.delete(listener));
}

/** Begin to follow it, if nobody has. */
export function listen() {
  if (!running) open();
}

/** End it; nobody is signed in any more. */
export function hangUp() {
  running?.abort();
  running = null;
  Object.assign(now, { models: {}, queues: {}, figures: null, history: [], scope: null });
  become("off");
}

async function open() {
  const mine = (running = new AbortController());
  let last = null;
  for (let failures = 0; !mine.signal.aborted; failures++) {
    become(failures ? "broken" : "opening");
    await seen();
    if (mine.signal.aborted) break;
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      for await (const { id, event, data } of events(STREAM, { headers, signal: hold(mine.signal) })) {
        become("live");
        failures = 0;
        last = id ?? last;
        tell(event, JSON.parse(data));
      }
    } catch (error) {
      if (mine.signal.aborted || error.status === 401 || error.status === 403) break;
      if (held.signal.aborted) {
        failures = -1;
        continue;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSES[Math.min(failures, PAUSES.length - 1)]));
  }
  if (running === mine) hangUp();
}

/** What ends the next connection: the sign-out, or that nobody looks. */
function hold(ends) {
  held = new AbortController();
  return AbortSignal.any([ends, held.signal]);
}

/** Until somebody looks. */
function seen() {
  if (!document.hidden) return null;
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
  });
}

function tell(name, told) {
  LEARNS[name]?.(told);
  for (const listener of readers.get(name) ?? []) listener(told);
}

function become(state) {
  if (link.state === state) return;
  link.state = state;
  link.dispatchEvent(new Event("change"));
}
