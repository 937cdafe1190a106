/** Keys and limits: who may call, how much, and who did what to manage that. */

import { call, keep, key as held, segment } from "../api.js";
import { h } from "../ui/dom.js";
import { count, money, seconds, when } from "../ui/format.js";
import { attempt, choice, dialog, field, input, say, sure, typed } from "../ui/forms.js";
import { badge, button, card, empty, facts, head, iconButton, table, tabs } from "../ui/page.js";

const TONES = { active: "good", expired: "warn", revoked: "" };
const TABS = [
  ["#/keys", "Keys"],
  ["#/keys/audit", "Audit"],
];
const DAY = 86_400;

export async function open(view) {
  return view.rest === "audit" ? audit(view) : keys(view);
}

async function keys(view) {
  let all = [];
  let revoked = false;
  const { limits: general } = (await call("v1/config", view)).values;

  async function look() {
    all = (await call("v1/keys", view)).data;
    draw();
  }

  const create = () => ask("New key", "Make it", null);
  const change = (one) => () => ask(`Change ${label(one)}`, "Change it", one);

  async function ask(title, action, one) {
    const first = one === null && !held() && !all.length;
    const made = await dialog({ title, action }, [first && note(), fields(one, first)], async (form) => {
      const body = wanted(typed(form), one);
      return one ? call(`v1/keys/${segment(one.id)}`, { method: "PATCH", body }) : call("v1/keys", { body });
    });
    if (!made) return;
    if (made.key) await reveal(made);
    if (first && made.role === "admin") keep(made.key);
    await look();
  }

  const rotate = (one) => async () => {
    const made = await dialog(
      { title: `Rotate ${label(one)}?`, action: "Rotate" },
      [
        h("p", {}, "It gets a new text. The old one counts a while longer, so that whoever uses it can be moved."),
        field(
          "The old one counts for",
          choice(
            [
              ["0", "No longer"],
              ["3600", "An hour"],
              [String(DAY), "A day"],
              [String(7 * DAY), "A week"],
            ],
            String(DAY),
            { name: "grace" },
          ),
        ),
      ],
      (form) => call(`v1/keys/${segment(one.id)}/rotate`, { body: { grace_seconds: Number(typed(form).grace) } }),
    );
    if (made) await reveal(made);
    await look();
  };

  const revoke = (one) => () =>
    sure(`Revoke ${label(one)}?`, "Whoever uses it is refused within a second, for good.", "Revoke", async () => {
      await call(`v1/keys/${segment(one.id)}`, { method: "DELETE" });
      say(`${label(one)} is revoked.`);
      await look();
    });

  const columns = [
    {
      title: "Key",
      cell: (one) => [h("span.name", {}, label(one)), h("div.muted.small.mono.break", {}, one.prefix)],
    },
    { title: "State", cell: (one) => badge(one.status, TONES[one.status] ?? "") },
    { title: "User", hide: true, cell: (one) => h("span.break", {}, one.user_id) },
    { title: "Role, tier", hide: true, cell: (one) => `${one.role} · ${one.tier}` },
    {
      title: "May use",
      hide: true,
      cell: (one) =>
        one.models.length ? h("span.break", {}, one.models.join(", ")) : h("span.muted", {}, "all models"),
    },
    { title: "Limits", hide: true, cell: (one) => limits(one) },
    {
      title: "Last used",
      num: true,
      hide: true,
      cell: (one) => (one.last_used_at ? when(one.last_used_at) : h("span.muted", {}, "never")),
    },
    {
      title: "",
      num: true,
      cell: (one) =>
        one.status !== "revoked" &&
        h(
          "div.actions.tight",
          {},
          button("Edit", change(one), { kind: "small", "aria-label": `Edit ${label(one)}` }),
          iconButton("refresh", `Rotate ${label(one)}`, rotate(one)),
          iconButton("trash", `Revoke ${label(one)}`, revoke(one)),
        ),
    },
  ];

  function draw() {
    const shown = all.filter((one) => revoked || one.status !== "revoked");
    const gone = all.length - all.filter((one) => one.status !== "revoked").length;
    view.draw(
      head(
        "Keys & limits",
        "Who may call, which models, how much and for how many dollars.",
        gone > 0 &&
          button(revoked ? "Hide revoked" : `Show revoked (${count(gone)})`, () => ((revoked = !revoked), draw())),
        button("New key", create, { kind: "primary", name: "plus" }),
      ),
      tabs("Keys and audit", TABS, "#/keys"),
      card(
        "",
        { key: "keys", class: "flush" },
        shown.length
          ? table("Keys", columns, shown, { key: (one) => one.id })
          : empty(
              "There are no keys",
              held()
                ? "Keys of the settings are not in this list."
                : "As long as there are none, whoever reaches the service from this machine may do everything.",
            ),
      ),
      tiers(general),
    );
  }

  await look();
}

/** What counts for all keys of a tier, and for everybody: the settings' own. */
function tiers({ tiers: by, endpoints, requests, window }) {
  const all = [
    ...Object.entries(by).map(([name, rates]) => [`Tier ${name}`, rates]),
    ...Object.entries(endpoints).map(([path, rates]) => [path, rates]),
    requests && ["Everybody", `${count(requests)} in ${seconds(window)}`],
  ].filter(Boolean);
  return card(
    "Limits of the settings",
    { key: "tiers", side: h("a", { href: "#/settings?find=limits" }, "Settings") },
    all.length ? facts(all) : h("p.muted", {}, "None: only what a key says of itself counts."),
  );
}

const label = (one) => one.name || one.id;

function limits(one) {
  const { requests, tokens, concurrent } = one.limits;
  const told = [
    requests && `${requests} requests`,
    tokens && `${tokens} tokens`,
    concurrent && `${concurrent} at once`,
    one.budget && `${money(one.budget.dollars)} / ${one.budget.period}`,
  ].filter(Boolean);
  return told.length
    ? told.map((line) => h("div.small", { key: line }, line))
    : h("span.muted", {}, "those of its tier");
}

const note = () =>
  h(
    "p.note.warn",
    {},
    "This is the first key. From then on everybody needs one, this console as well: make an admin's key first, and keep it.",
  );

/** What may be said of a key. */
function fields(one, first) {
  const now = one ?? { role: first ? "admin" : "user", tier: "standard", models: [], tags: [], limits: {} };
  return h(
    "div.fields",
    {},
    field("Name", input({ name: "name", value: now.name ?? "", maxlength: "200" }), "For people."),
    field("User", input({ name: "user_id", value: now.user_id ?? "", maxlength: "200" }), "Whose usage it is."),
    field(
      "Role",
      choice(
        [
          ["user", "user"],
          ["admin", "admin"],
        ],
        now.role,
        { name: "role" },
      ),
      "Admins manage everything.",
    ),
    field("Tier", input({ name: "tier", value: now.tier }), "Which limits count."),
    field(
      "Models",
      input({ name: "models", value: now.models.join(", "), placeholder: "All" }),
      "Names, * for any ending.",
    ),
    field("Tags", input({ name: "tags", value: now.tags.join(", ") }), "Usage is summed up by them."),
    field("Requests", input({ name: "requests", value: now.limits.requests ?? "", placeholder: "100/hour" })),
    field("Tokens", input({ name: "tokens", value: now.limits.tokens ?? "", placeholder: "50000/day" })),
    field("At once", input({ name: "concurrent", type: "number", min: "1", value: now.limits.concurrent ?? "" })),
    field(
      "Budget in dollars",
      input({ name: "dollars", inputmode: "decimal", pattern: "\\d+(\\.\\d+)?", value: now.budget?.dollars ?? "" }),
    ),
    field(
      "Budget for each",
      choice(
        [
          ["day", "day"],
          ["month", "month"],
          ["total", "all time"],
        ],
        now.budget?.period ?? "month",
        { name: "period" },
      ),
    ),
    !one && field("Ends after days", input({ name: "days", type: "number", min: "1", placeholder: "Never" })),
  );
}

/** What was typed, as the API wants it; when a key is changed, what is empty takes away. */
function wanted(form, one) {
  const list = (text) =>
    (text ?? "")
      .split(",")
      .map((part) => part.trim())
      .filter(Boolean);
  const body = {
    name: form.name ?? "",
    role: form.role,
    tier: form.tier ?? "standard",
    models: list(form.models),
    tags: list(form.tags),
    limits: {
      requests: form.requests ?? null,
      tokens: form.tokens ?? null,
      concurrent: form.concurrent ? Number(form.concurrent) : null,
    },
    budget: form.dollars ? { dollars: form.dollars, period: form.period } : null,
  };
  if (form.user_id && form.user_id !== one?.user_id) body.user_id = form.user_id;
  if (form.days) body.expires_in = Number(form.days) * DAY;
  return body;
}

/** Show a key's text, this once. */
function reveal(made) {
  const text = h("code", {}, made.key);
  const copy = iconButton("copy", "Copy the key", async () => {
    try {
      await navigator.clipboard.writeText(made.key);
      say("Copied.");
    } catch {
      getSelection().selectAllChildren(text);
    }
  });
  return dialog({ title: `The key of ${label(made)}`, action: "", close: "I have kept it" }, [
    h("p", {}, "It is shown this once and never again."),
    h("div.secret", {}, text, copy),
    made.old_key_until && h("p.muted", {}, "The old one counts until ", when(made.old_key_until), "."),
  ]);
}

async function audit(view) {
  let actions = [];
  let more = true;

  async function next() {
    const last = actions.at(-1)?.id;
    const { data } = await call(`v1/audit?limit=50${last ? `&before=${encodeURIComponent(last)}` : ""}`, view);
    actions = actions.concat(data);
    more = data.length === 50;
    draw();
  }

  const columns = [
    { title: "When", cell: (one) => when(one.time) },
    {
      title: "Who",
      cell: (one) => [h("span.break", {}, one.user_id), one.key_id && h("div.muted.small", {}, one.key_id)],
    },
    {
      title: "What",
      wide: true,
      cell: (one) => [
        h("code.break", {}, one.action),
        Object.keys(one.detail).length > 0 && h("div.muted.small.break", {}, JSON.stringify(one.detail)),
      ],
    },
    { title: "Answered", num: true, cell: (one) => badge(String(one.status), one.status < 400 ? "good" : "bad") },
  ];

  function draw() {
    view.draw(
      head("Keys & limits", "Who tried to manage what, the newest first."),
      tabs("Keys and audit", TABS, "#/keys/audit"),
      card(
        "",
        { key: "audit", class: "flush" },
        actions.length
          ? table("Audit", columns, actions, { key: (one) => one.id })
          : empty(
              "Nothing was managed yet",
              "Loads, unloads, keys, purges and registrations are written down here.",
            ),
      ),
      more &&
        actions.length > 0 &&
        h(
          "div.actions",
          {},
          button("Show more", (event) => attempt(event, next)),
        ),
    );
  }

  await next();
}
