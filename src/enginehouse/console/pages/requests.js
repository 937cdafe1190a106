/** Requests: what was asked, how it ended and where its time went; and what goes wrong again and again. */

import { call, segment } from "../api.js";
import { hear } from "../events.js";
import { h } from "../ui/dom.js";
import { count, engine, milliseconds, money, NONE, percent, rate, when, words } from "../ui/format.js";
import { attempt, choice, field, input } from "../ui/forms.js";
import { button, card, empty, facts, figure, head, table, tabs } from "../ui/page.js";
import { outcome, requestTable, tier, waterfall } from "../ui/requests.js";

const TABS = [
  ["#/requests", "Requests"],
  ["#/requests/errors", "What goes wrong"],
];
const ENDS = [
  ["", "Any"],
  ["completed", "Completed"],
  ["failed", "Failed"],
  ["refused", "Refused"],
  ["cancelled", "Given up by the caller"],
];
const TIERS = [
  ["", "Any"],
  ["exact", "Exact hit"],
  ["semantic", "Hit in other words"],
  ["miss", "Miss"],
  ["bypass", "Not looked for"],
];
const SPEEDS = [
  ["", "Any"],
  ["1000", "Over 1 s"],
  ["5000", "Over 5 s"],
  ["30000", "Over 30 s"],
];

export async function open(view) {
  if (view.rest === "errors") return errors(view);
  return view.rest ? one(view, view.rest) : list(view);
}

async function list(view) {
  const asked = Object.fromEntries(view.query);
  let requests = [];
  let cursor = null;
  let latest = 0;

  const query = (more) => new URLSearchParams({ limit: "50", ...asked, ...more });

  async function look() {
    const mine = ++latest;
    const page = await call(`v1/telemetry/requests?${query({})}`, view);
    if (mine !== latest) return; // something else was asked for meanwhile
    requests = page.data;
    cursor = page.next_cursor;
    draw();
  }

  const more = (event) =>
    attempt(event, async () => {
      const page = await call(`v1/telemetry/requests?${query({ cursor })}`, view);
      requests = requests.concat(page.data);
      cursor = page.next_cursor;
      draw();
    });

  const change = (name) => (event) => {
    const value = event.currentTarget.value.trim();
    if (value) asked[name] = value;
    else delete asked[name];
    attempt(null, look);
  };

  const models = (await call("v1/models", view)).data.map((model) => [model.id, model.id]);
  const filters = h(
    "div.filters",
    { keep: true },
    field("Model", choice([["", "Any"], ...models], asked.model ?? "", { onchange: change("model") })),
    field("Outcome", choice(ENDS, asked.outcome ?? "", { onchange: change("outcome") })),
    field("Cache", choice(TIERS, asked.cache ?? "", { onchange: change("cache") })),
    field("Took", choice(SPEEDS, asked.min_ms ?? "", { onchange: change("min_ms") })),
    view.admin &&
      field(
        "User",
        input({ size: "12", placeholder: "Anybody", value: asked.user_id ?? "", onchange: change("user_id") }),
      ),
    field(
      "Request id",
      input({ size: "16", placeholder: "Any", value: asked.request_id ?? "", onchange: change("request_id") }),
    ),
  );

  function draw() {
    const narrowed = Object.keys(asked).length > 0;
    view.draw(
      head("Requests", view.admin ? "Everybody's, the newest first." : "Yours, the newest first."),
      tabs("Requests and errors", TABS, "#/requests"),
      filters,
      card(
        "",
        { key: "list", class: "flush" },
        requests.length
          ? requestTable(requests)
          : empty(
              narrowed ? "No request is like that" : "Nothing was asked yet",
              narrowed ? "Ask for less, or for more time." : "As soon as somebody asks a model, it is here.",
              !narrowed && h("a.button", { href: "#/playground" }, "Playground"),
            ),
      ),
      cursor && h("div.actions", { key: "more" }, button("Show more", more)),
    );
  }

  let soon = null;
  await look();
  // New ones come by themselves as long as nobody has gone on to older pages.
  hear("requests", view.signal, () => {
    if (soon || requests.length > 50) return;
    soon = setTimeout(() => ((soon = null), view.signal.aborted || look().catch(() => undefined)), 400);
  });
}

async function one(view, id) {
  const told = await call(`v1/telemetry/requests/${segment(id)}`, view);
  const { usage, timings_ms: timings } = told;
  view.draw(
    head(
      "Request",
      h("code.break", {}, told.request_id),
      h("a.button", { href: `#/cache?request=${segment(told.request_id)}` }, "Why from the cache, or not"),
      h("a.button", { href: "#/requests" }, "All requests"),
    ),
    h(
      "div.figures",
      {},
      figure("Outcome", outcome(told), told.status ? `status ${told.status}` : null),
      figure("In all", milliseconds(timings.total), `${milliseconds(timings.gateway)} of it our own`),
      figure("First token", milliseconds(timings.ttft), "after the engine was asked"),
      figure(
        "Tokens",
        count(usage.total_tokens),
        `${count(usage.input_tokens + usage.cached_input_tokens)} in · ${count(usage.output_tokens)} out`,
      ),
      figure("Speed", told.tokens_per_second === null ? NONE : rate(told.tokens_per_second), "tokens a second"),
      figure("Cost", told.cost === null ? NONE : money(told.cost), told.cost === null ? "no price is known" : null),
    ),
    told.error &&
      h(
        "div.trouble",
        {},
        h("div", {}, h("strong", {}, told.error.message), h("p.muted.small", {}, told.error.code)),
      ),
    card("Where its time went", {}, waterfall(told)),
    card(
      "What is known of it",
      {},
      facts([
        ["Came", when(told.timestamp)],
        ["Model", told.model ?? told.requested_model],
        ["Deployment", told.deployment],
        ["Engine", told.engine && engine(told.engine)],
        ["Caller", told.user_id],
        ["Key", told.key_id],
        ["Tenant", told.tenant],
        ["Path", told.path],
        ["Dialect", told.face],
        ["Streamed", told.stream ? "yes" : "no"],
        ["Priority", told.priority],
        ["Cache", told.cache && tier(told.cache)],
        ["Guard", told.guard && words(told.guard)],
        ["Trace", told.trace_id],
      ]),
    ),
    told.prompt && card("Prompt", {}, h("pre.block", {}, told.prompt)),
    told.answer && card("Answer", {}, h("pre.block", {}, told.answer)),
  );
}

async function errors(view) {
  const columns = [
    {
      title: "What",
      wide: true,
      cell: (one) => [h("span.name", {}, words(one.code)), h("div.muted.small.break", {}, one.cause)],
    },
    { title: "Times", num: true, cell: (one) => count(one.count) },
    { title: "Share", num: true, hide: true, cell: (one) => percent(one.share) },
    { title: "Models", hide: true, cell: (one) => h("span.break", {}, Object.keys(one.models).join(", ")) },
    { title: "Users", num: true, hide: true, cell: (one) => count(one.users) },
    { title: "Last", num: true, hide: true, cell: (one) => when(one.last_seen) },
    { title: "", num: true, cell: (one) => h("a", { href: `#/requests/${segment(one.example.id)}` }, "Example") },
  ];

  async function look() {
    const told = await call("v1/telemetry/errors", view);
    view.draw(
      head("Requests", "What went wrong in the last day, the like taken together."),
      tabs("Requests and errors", TABS, "#/requests/errors"),
      h(
        "div.figures",
        { key: "figures" },
        figure("Requests", count(told.total_requests), "in the last day"),
        figure("Went wrong", count(told.total_errors), told.total_requests ? percent(told.error_rate) : null),
        figure("Causes", count(told.patterns.length), "that are not alike"),
      ),
      card(
        "",
        { key: "patterns", class: "flush" },
        told.patterns.length
          ? table("What went wrong", columns, told.patterns, { key: (one) => one.code + one.cause })
          : empty("Nothing went wrong", "No request of the last day failed or was refused."),
      ),
    );
  }

  await look();
  view.every(10_000, look);
}
