/** Models: what is in memory, what is on its way, why, and what can be done about it. */

import { call, events, segment } from "../api.js";
import { hear } from "../events.js";
import { h, render } from "../ui/dom.js";
import { count, engine, megabytes, NONE, seconds, when, words } from "../ui/format.js";
import { attempt, choice, field, input, say, sure } from "../ui/forms.js";
import { badge, button, card, empty, facts, head, iconButton, table } from "../ui/page.js";
import { pools, state } from "../ui/models.js";

const RANK = { loading: 0, draining: 1, ready: 2, failed: 3, off: 4 };
const MOST_LINES = 500;

export async function open(view) {
  const page = {
    models: [],
    states: {},
    vram: null,
    text: "",
    type: "",
    chosen: view.rest,
    why: null,
    log: null,
    progress: {},
  };
  const path = (id, what) => `v1/models/${segment(id)}/${what}`;

  async function look() {
    const [list, standing, vram] = await Promise.all([
      call("v1/models", view),
      call("v1/models/status", view),
      call("vram", view),
    ]);
    Object.assign(page, { models: list.data, states: standing.models, vram });
    if (page.chosen && page.states[page.chosen]) await lookAtOne();
    draw();
  }

  async function lookAtOne() {
    page.why = (await call(`${path(page.chosen, "status")}?explain=1`, view)).explanation;
  }

  /** What is known of loads under way; nobody is asked while there are none. */
  async function follow() {
    const loading = Object.keys(page.states).filter((id) => page.states[id].status === "loading");
    const asked = loading.map(async (id) => [
      id,
      (await call(`${path(id, "status")}?explain=1`, view)).explanation.now[0],
    ]);
    const before = Object.keys(page.progress).length;
    page.progress = Object.fromEntries(await Promise.all(asked));
    if (before || loading.length) draw();
  }

  const underWay = (id) =>
    page.states[id]?.status === "loading" &&
    h(
      "div.stack",
      {},
      h("div.sliding", { role: "progressbar", "aria-label": `Loading ${id}` }),
      h("p.muted.small", {}, page.progress[id] ?? "It is being loaded."),
    );

  let soon = null;
  const lookSoon = () => {
    clearTimeout(soon);
    soon = setTimeout(() => !view.signal.aborted && look().catch(() => undefined), 250);
  };

  /** Ask for something, and show how it goes on. */
  const act = (id, what, done) => (event) =>
    attempt(event, async () => {
      const told = await call(path(id, what), { method: "POST" });
      page.states[id] = { ...page.states[id], ...told };
      say(done);
      lookSoon();
    });

  const unload = (id) => async (event) => {
    const busy = page.states[id].active_requests;
    const go = act(id, "unload?wait=false", `${id} leaves memory.`);
    if (!busy) return go(event);
    return sure(
      `Unload ${id}?`,
      `${count(busy)} requests run on it. They end first; those that come later load it again.`,
      "Unload",
      async () => {
        await go(null);
      },
    );
  };

  function actions(id) {
    const { status, pinned } = page.states[id] ?? {};
    if (!view.admin || !status) return null;
    return h(
      "div.actions.tight",
      {},
      iconButton(
        "pin",
        pinned ? `Unpin ${id}` : `Pin ${id}: keep it in memory`,
        act(
          id,
          pinned ? "unpin" : "pin",
          pinned ? `${id} may leave memory again.` : `${id} stays in memory once it is there.`,
        ),
        { "aria-pressed": String(Boolean(pinned)) },
      ),
      status === "failed" &&
        button("Reset", act(id, "reset", `${id} may be tried again.`), {
          kind: "small",
          "aria-label": `Reset ${id}`,
        }),
      status === "off" || status === "failed"
        ? button("Load", act(id, "load?wait=false", `${id} is being loaded.`), {
            kind: "small",
            "aria-label": `Load ${id}`,
          })
        : button(status === "loading" ? "Stop" : "Unload", unload(id), {
            kind: "small",
            "aria-label": `Unload ${id}`,
            disabled: status === "draining",
          }),
    );
  }

  function list() {
    const wanted = page.text.toLowerCase();
    const fits = (model) =>
      (!page.type || model.type === page.type) &&
      [model.id, model.name, ...model.aliases].some((name) => name.toLowerCase().includes(wanted));
    return page.models
      .filter(fits)
      .sort((one, other) => RANK[status(one)] - RANK[status(other)] || one.id.localeCompare(other.id));
  }

  const status = (model) => page.states[model.id]?.status ?? model.status;
  const memory = ({ vram_mb, ram_mb } = {}) =>
    vram_mb || ram_mb ? megabytes((vram_mb ?? 0) + (ram_mb ?? 0)) : NONE;

  function requests({ active_requests: active, waiting_requests: waiting } = {}) {
    return [count(active), waiting > 0 && h("span.muted", {}, ` + ${count(waiting)} waiting`)];
  }

  /** At how many replicas it stands so, where there are several. */
  function among({ status, replicas = {} } = {}) {
    const all = Object.values(replicas);
    if (all.length < 2 || status === "off") return null;
    const alike = all.filter((one) => one.status === status).length;
    return h("span.muted.small", {}, `${count(alike)} of ${count(all.length)} replicas`);
  }

  const columns = [
    {
      title: "Model",
      cell: (model) => [
        h("a.link-name", { href: `#/models/${segment(model.id)}` }, model.id),
        model.name !== model.id && h("div.muted.small", {}, model.name),
      ],
    },
    {
      title: "State",
      cell: (model) =>
        h(
          "div.row",
          {},
          state(status(model)),
          page.states[model.id]?.pinned && badge("pinned", "busy"),
          among(page.states[model.id]),
        ),
    },
    { title: "Type", hide: true, cell: (model) => words(model.type) },
    { title: "Engine", hide: true, cell: (model) => engine(model.provider) },
    { title: "Memory", num: true, hide: true, cell: (model) => memory(page.states[model.id]) },
    { title: "Requests", num: true, hide: true, cell: (model) => requests(page.states[model.id]) },
    { title: "", num: true, cell: (model) => actions(model.id) },
  ];

  function detail(model) {
    const now = page.states[model.id] ?? {};
    return card(
      model.id,
      { key: "detail", side: h("a.button.small", { href: "#/models" }, "Close") },
      facts([
        ["State", state(status(model))],
        ["Engine", engine(model.provider)],
        ["Context", model.context_length && `${count(model.context_length)} tokens`],
        ["Memory", memory(now)],
        ["Last load", now.load_time_seconds && seconds(now.load_time_seconds)],
        ["Idle for", now.idle_seconds && seconds(now.idle_seconds)],
        ["Copies", now.instances],
        ...Object.entries(now.replicas ?? {}).map(([id, one]) => [
          `At ${id}`,
          h("span.row", {}, state(one.status), one.active_requests > 0 && `${count(one.active_requests)} running`),
        ]),
        ["Process", now.pid && `${now.pid} on port ${now.port}`],
        ["Aliases", model.aliases.length ? model.aliases.join(", ") : null],
        ["Comes from", model.origin],
        ["Can", model.capabilities.map(words).join(", ")],
      ]),
      now.error && h("div.trouble", {}, now.error),
      h(
        "div.columns",
        {},
        h("div.stack", { key: "why" }, h("h3", {}, "Why"), why()),
        view.admin && h("div.stack", { key: "log" }, h("h3", {}, "Engine log"), page.log),
      ),
    );
  }

  function why() {
    if (!page.why) return null;
    const { now, decisions } = page.why;
    const line = (one) =>
      h(
        "li",
        { key: one.timestamp + one.what },
        when(one.timestamp),
        h("p", {}, h("strong", {}, words(one.what)), one.other && ` for ${one.other}`, ` – ${one.why}`),
      );
    return [
      now.map((reason) => h("p.note", { key: reason }, reason)),
      decisions.length
        ? h("ol.timeline", {}, decisions.slice(-12).reverse().map(line))
        : h("p.muted", {}, "Nothing was decided about it since the service started."),
    ];
  }

  const search = input({
    type: "search",
    placeholder: "Name or alias",
    oninput: () => ((page.text = search.value), draw()),
  });
  const types = choice(
    [
      ["", "All types"],
      ["chat", "Chat"],
      ["embedding", "Embedding"],
      ["classifier", "Classifier"],
      ["reranker", "Reranker"],
    ],
    "",
    {
      onchange: () => ((page.type = types.value), draw()),
    },
  );
  const filters = h("div.filters", { keep: true }, field("Find", search), field("Type", types));

  function draw() {
    const shown = list();
    const ready = page.models.filter((model) => status(model) === "ready").length;
    const one = page.models.find((model) => model.id === page.chosen);
    const rows = shown.length
      ? table("Models", columns, shown, {
          key: (model) => model.id,
          attributes: (model) => ({ class: model.id === page.chosen ? "chosen" : "" }),
          below: (model) => underWay(model.id),
        })
      : empty("No model fits", "Nothing in the list has this name and type.");
    view.draw(
      head("Models", `${count(page.models.length)} models, ${count(ready)} in memory.`, filters),
      card("Memory", { key: "memory" }, pools(page.vram)),
      page.chosen && !one && h("p.note.warn", { key: "gone" }, `There is no model ${page.chosen} in the list.`),
      one && detail(one),
      card("", { key: "list", class: "flush" }, rows),
    );
  }

  if (view.admin && page.chosen) page.log = logBox();
  await look();
  if (page.log) tail(page.log, path(page.chosen, "logs/stream"), view.signal);
  hear("full_status", view.signal, (told) => ((page.states = told.models), draw()));
  hear("model_update", view.signal, (told) => ((page.states[told.model_id] = told), draw(), lookSoon()));
  view.every(5000, look);
  view.every(1000, follow);
}

const logBox = () =>
  h(
    "pre.log",
    { keep: true, tabindex: "0", role: "log", "aria-label": "Engine log" },
    "It has written nothing yet.",
  );

/** The engine's last lines and every new one, followed as long as the reader stands at the end. */
async function tail(log, path, signal) {
  const lines = [];
  try {
    for await (const { data } of events(`${path}?lines=200`, { signal })) {
      const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      lines.push(JSON.parse(data).line);
      lines.splice(0, lines.length - MOST_LINES);
      render(log, lines.join("\n"));
      if (atEnd) log.scrollTop = log.scrollHeight;
    }
  } catch (error) {
    if (error.name !== "AbortError") render(log, error.message);
  }
}
