/** Settings: what is in force, where each value comes from, what it means, and how the service is. */

import { call } from "../api.js";
import { h } from "../ui/dom.js";
import { count, megabytes, milliseconds, prose, seconds, when } from "../ui/format.js";
import { field, input, tick } from "../ui/forms.js";
import { badge, card, empty, facts, head, table } from "../ui/page.js";

const TONES = { healthy: "good", degraded: "warn", unhealthy: "bad", up: "good", down: "bad" };

export async function open(view) {
  const [config, status] = await Promise.all([call("v1/config", view), call("v1/status", view)]);
  const all = [...rows(config.values, [])];
  let health = await call("health", { ...view, answers: [503] });
  let text = view.query.get("find") ?? "";
  let changed = false;

  const search = input({
    type: "search",
    value: text,
    placeholder: "cache, timeout, …",
    oninput: () => ((text = search.value), draw()),
  });
  const only = tick("Only what is set", { onchange: (event) => ((changed = event.currentTarget.checked), draw()) });

  const filters = h("div.filters", { keep: true }, field("Find", search), only);

  const columns = [
    {
      title: "Key",
      cell: (one) => [h("code.break", {}, one.key), one.meaning && h("div.muted.small", {}, prose(one.meaning))],
    },
    { title: "Value", cell: (one) => h("code.break", {}, one.value) },
    {
      title: "Comes from",
      hide: true,
      cell: (one) => (one.origin ? badge(one.origin, "busy") : h("span.muted", {}, "default")),
    },
    {
      title: "Counts",
      hide: true,
      cell: (one) => h("span.muted", {}, one.restart ? "after a restart" : "at once"),
    },
  ];

  function* rows(values, path) {
    for (const [name, value] of Object.entries(values)) {
      const here = [...path, name];
      if (value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length)
        yield* rows(value, here);
      else yield row(here, value);
    }
  }

  function row(path, value) {
    const key = path.join(".");
    const known =
      config.keys[key] ?? config.keys[path[0] === "models" ? ["models", "<id>", ...path.slice(2)].join(".") : key];
    return {
      key,
      value: written(value),
      origin: config.origins[key],
      meaning: known?.meaning,
      restart: known?.restart,
    };
  }

  function draw() {
    const wanted = text.toLowerCase();
    const shown = all.filter(
      (one) => (!changed || one.origin) && `${one.key} ${one.meaning ?? ""}`.toLowerCase().includes(wanted),
    );
    const dependencies = Object.entries(health.dependencies);
    view.draw(
      head("Settings", "What is in force. It is changed in the file or the environment; secrets are never shown."),
      card(
        "The service",
        { key: "service", side: badge(health.status, TONES[health.status]) },
        facts([
          ["Version", status.version],
          ["Runs since", when(status.started_at)],
          ["For", seconds(status.uptime_seconds)],
          ["Memory of its own", megabytes(status.memory_mb)],
          ...dependencies.map(([name, one]) => [
            name,
            h(
              "span.row",
              {},
              badge(one.status, TONES[one.status]),
              one.status === "up" ? milliseconds(one.latency_ms) : one.detail,
            ),
          ]),
        ]),
      ),
      filters,
      card(
        "",
        { key: "keys", class: "flush" },
        shown.length
          ? table("Settings", columns, shown, { key: (one) => one.key })
          : empty("No such key", "The whole list is in the configuration reference."),
      ),
      h(
        "p.muted.small",
        {},
        `${count(shown.length)} of ${count(all.length)} keys; ${count(Object.keys(config.origins).length)} are set.`,
      ),
    );
  }

  draw();
  view.every(10_000, async () => {
    health = await call("health", { ...view, answers: [503] });
    draw();
  });
}

const written = (value) => (typeof value === "string" ? value || '""' : JSON.stringify(value));
