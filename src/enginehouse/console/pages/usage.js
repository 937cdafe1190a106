/** Usage and cost: what was asked, by whom, and what it cost, over any days. */

import { ask, call } from "../api.js";
import { bars } from "../ui/chart.js";
import { h } from "../ui/dom.js";
import { download } from "../ui/files.js";
import { count, money, NONE, percent, rate } from "../ui/format.js";
import { attempt, choice, field, input } from "../ui/forms.js";
import { button, card, empty, facts, figure, head, loading, meter, table, trouble } from "../ui/page.js";

const GROUPS = [
  ["model", "Model"],
  ["key", "Key"],
  ["user", "User"],
  ["tenant", "Tenant"],
  ["tag", "Tag"],
  ["day", "Day"],
  ["hour", "Hour"],
];
const SPANS = [
  ["7", "7 days"],
  ["30", "30 days"],
  ["90", "90 days"],
  ["365", "A year"],
];
const DAY = 86_400_000;

const day = (at) => new Date(at).toISOString().slice(0, 10);

export async function open(view) {
  const asked = { start: day(Date.now() - 29 * DAY), end: day(Date.now()), by: "model", user: "" };
  let told = null;
  let saved = null;
  let wrong = null;
  let latest = 0;

  const query = () =>
    new URLSearchParams({
      start_date: asked.start,
      end_date: asked.end,
      group_by: asked.by,
      ...(asked.user ? { user_id: asked.user } : {}),
    });

  async function look() {
    const mine = ++latest;
    const [answer, refused] = await call(`v1/llm/usage?${query()}`, view).then(
      (found) => [found, null],
      (error) => [null, error],
    );
    if (mine !== latest || view.signal.aborted) return; // something else was asked for meanwhile
    told = answer ?? told;
    wrong = refused;
    draw();
    const savings = new URLSearchParams([...query()].filter(([name]) => name !== "group_by"));
    const could = wrong ? null : await call(`v1/llm/savings?${savings}`, view).catch(() => null);
    if (mine !== latest) return;
    saved = could;
    draw();
  }

  const change =
    (name, read = (box) => box.value) =>
    (event) => {
      asked[name] = read(event.currentTarget);
      look();
    };
  const start = input({ type: "date", value: asked.start, onchange: change("start") });
  const end = input({ type: "date", value: asked.end, onchange: change("end") });
  const span = choice(SPANS, "30", {
    onchange: () => {
      start.value = asked.start = day(Date.now() - (Number(span.value) - 1) * DAY);
      end.value = asked.end = day(Date.now());
      look();
    },
  });
  const csv = (event) =>
    attempt(event, async () =>
      download(
        await ask(`v1/llm/usage?${query()}`, { headers: { Accept: "text/csv" } }),
        `usage-${asked.start}-${asked.end}.csv`,
      ),
    );
  const filters = h(
    "div.filters",
    { keep: true },
    field("Span", span),
    field("From", start),
    field("To", end),
    field("Group by", choice(GROUPS, asked.by, { onchange: change("by") })),
    view.admin &&
      field(
        "User",
        input({ placeholder: "Everybody", size: "12", onchange: change("user", (box) => box.value.trim()) }),
      ),
    button("CSV", csv, { name: "download" }),
  );

  function draw() {
    view.draw(
      head("Usage & cost", view.admin ? "Of everybody, in UTC days." : "Yours, in UTC days."),
      filters,
      wrong && trouble(wrong, look),
      !wrong && (told ? report() : loading()),
    );
  }

  const report = () => [
    h(
      "div.figures",
      { key: "figures" },
      figure(
        "Requests",
        count(told.total_requests),
        `${count(told.failed_requests)} failed · ${count(told.cancelled_requests)} given up`,
      ),
      figure(
        "Tokens",
        count(told.total_tokens),
        `${count(told.input_tokens + told.cached_input_tokens)} in · ${count(told.output_tokens)} out`,
      ),
      figure(
        "Cost",
        told.total_cost === null ? NONE : money(told.total_cost),
        told.unpriced_requests
          ? `${count(told.unpriced_requests)} requests have no price`
          : "every request has a price",
      ),
      figure(
        "From the cache",
        told.total_requests ? percent(told.cached_requests / told.total_requests) : NONE,
        `${count(told.cached_requests)} requests`,
      ),
    ),
    told.total_requests
      ? [
          days(),
          card(
            `By ${GROUPS.find(([id]) => id === told.group_by)[1].toLowerCase()}`,
            { key: "groups", class: "flush" },
            groups(),
          ),
          saved && savings(),
        ]
      : card(
          "",
          { key: "none" },
          empty(
            "Nothing was asked in these days",
            "Choose other days, or ask something.",
            h("a.button", { href: "#/playground" }, "Playground"),
          ),
        ),
  ];

  function days() {
    const by = new Map(told.daily_usage.map((one) => [one.date, one]));
    const names = [];
    for (let at = Date.parse(told.start); at < Date.parse(told.end) && names.length < 370; at += DAY)
      names.push(day(at));
    const of = (read) => names.map((name) => Number(read(by.get(name) ?? {}) ?? 0));
    const priced = told.total_cost !== null;
    return h(
      "div.columns",
      { key: "days" },
      card(
        "Requests by day",
        {},
        bars([{ name: "requests", tone: "1", values: of((one) => one.requests) }], names, {
          label: "Requests by day",
          write: rate,
          least: 4,
        }),
      ),
      card(
        priced ? "Cost by day" : "Tokens by day",
        {},
        priced
          ? bars([{ name: "cost", tone: "2", values: of((one) => one.cost) }], names, {
              label: "Cost by day",
              write: money,
            })
          : bars([{ name: "tokens", tone: "2", values: of((one) => one.tokens) }], names, {
              label: "Tokens by day",
              write: count,
              least: 10,
            }),
      ),
    );
  }

  function groups() {
    const most = Math.max(...told.groups.map((one) => one.requests), 1);
    const columns = [
      { title: "Name", cell: (one) => h("span.name", {}, named(one)) },
      { title: "Requests", num: true, cell: (one) => count(one.requests) },
      { title: "", hide: true, cell: (one) => meter(one.requests, most) },
      { title: "Tokens", num: true, cell: (one) => count(one.total_tokens) },
      { title: "Cost", num: true, cell: (one) => (one.cost === null ? NONE : money(one.cost)) },
    ];
    return told.groups.length
      ? table("Usage by group", columns, told.groups, { key: named })
      : empty("Nothing to group by", `No request in these days has a ${told.group_by}.`);
  }

  const named = (one) => {
    const id = String(one[told.group_by] ?? NONE);
    return told.group_by === "key" ? (keys.get(id) ?? id) : id;
  };

  function savings() {
    const would = [
      ["Caching exact repeats", saved.caching.saved.tenant],
      ["Cheaper models of equal abilities", saved.cheaper_models.saved],
      ["Batches", saved.batching.saved],
    ];
    return card(
      "What could have been saved",
      { key: "savings" },
      facts(would.map(([name, amount]) => [name, money(amount)])),
      h(
        "details",
        {},
        h("summary", {}, "How that is reckoned"),
        h(
          "ul",
          {},
          [...saved.assumptions, ...saved.unknown].map((line) => h("li", { key: line }, line)),
        ),
      ),
    );
  }

  // Keys are summed up by their ids; people know them by their names.
  const keys = new Map();
  if (view.admin)
    for (const one of (await call("v1/keys", view)).data)
      keys.set(one.id, one.name ? `${one.name} (${one.id})` : one.id);
  draw();
  await look();
}
