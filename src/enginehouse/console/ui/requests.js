/** What several pages show of requests: a table of them, and one request's whole way. */

import { segment } from "../api.js";
import { h } from "./dom.js";
import { count, milliseconds, money, NONE, when, words } from "./format.js";
import { badge, table } from "./page.js";

const OUTCOMES = { completed: "good", cancelled: "warn", failed: "bad", refused: "bad" };
const TONES = { identity: "5", limits: "5", cache: "2", queue: "3", load: "4", upstream: "1", ledger: "5" };
const NAMES = {
  identity: "who is calling",
  limits: "limits",
  cache: "cache",
  queue: "waiting",
  load: "loading",
  upstream: "the model",
  ledger: "ledger",
};

/** How a request ended. */
export const outcome = (one) =>
  badge(one.outcome === "completed" ? "completed" : (one.error?.code ?? one.outcome), OUTCOMES[one.outcome] ?? "");

/** Which cache answered. */
export const tier = (name) =>
  name ? badge(words(name), name === "exact" || name === "semantic" ? "good" : "") : NONE;

const columns = [
  {
    title: "When",
    cell: (one) => h("a.link-name", { href: `#/requests/${segment(one.id)}` }, when(one.timestamp)),
  },
  {
    title: "Model",
    cell: (one) => [
      h("span.break", {}, one.model ?? one.requested_model ?? NONE),
      h("div.muted.small", {}, one.operation ?? one.path),
    ],
  },
  { title: "Caller", hide: true, cell: (one) => h("span.break", {}, one.user_id) },
  { title: "Outcome", cell: outcome },
  { title: "Cache", hide: true, cell: (one) => tier(one.cache) },
  { title: "First token", num: true, hide: true, cell: (one) => milliseconds(one.timings_ms.ttft) },
  { title: "Total", num: true, cell: (one) => milliseconds(one.timings_ms.total) },
  { title: "Tokens", num: true, hide: true, cell: (one) => count(one.usage.total_tokens) },
  { title: "Cost", num: true, hide: true, cell: (one) => (one.cost === null ? NONE : money(one.cost)) },
];

/** A table of requests; when one came leads to its whole way. */
export const requestTable = (requests, chosen) =>
  table("Requests", columns, requests, {
    key: (one) => one.id,
    attributes: (one) => ({ class: one.id === chosen ? "chosen" : "" }),
  });

/** Where a request's time went: every stay in a phase, from its beginning to its end. */
export function waterfall(one) {
  const whole = Math.max(one.timings_ms.total, ...one.spans.map((span) => span.start_ms + span.duration_ms), 0.001);
  const share = (time) => `${Math.min(100, (100 * time) / whole)}%`;
  const row = (span, index) =>
    h(
      "div.fall-row",
      { key: index },
      h("span", {}, NAMES[span.name] ?? words(span.name)),
      h(
        "span.fall-track",
        { "aria-hidden": "true" },
        h(`span.fall-part.t${TONES[span.name] ?? "5"}`, {
          vars: { from: share(span.start_ms), part: share(span.duration_ms) },
        }),
      ),
      h("span.num", { title: `from ${milliseconds(span.start_ms)} on` }, milliseconds(span.duration_ms)),
    );
  return h(
    "div.fall",
    { role: "group", "aria-label": "Where its time went" },
    one.spans.map(row),
    h(
      "div.fall-row",
      { key: "all" },
      h("strong", {}, "in all"),
      h("span"),
      h("strong.num", {}, milliseconds(one.timings_ms.total)),
    ),
  );
}
