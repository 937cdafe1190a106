/** Overview: how the service does at this moment and did for the last five minutes. */

import { call, segment } from "../api.js";
import { hear, now } from "../events.js";
import { lines, spark } from "../ui/chart.js";
import { h } from "../ui/dom.js";
import { count, milliseconds, money, NONE, percent, rate, seconds } from "../ui/format.js";
import { pools, state } from "../ui/models.js";
import { card, empty, figure, head, loading, table } from "../ui/page.js";
import { requestTable } from "../ui/requests.js";

const SHOWN = 8;
const SPAN = 300_000;

export async function open(view) {
  let vram = null;
  let latest = [];

  async function look() {
    vram = await call("vram", view);
    draw();
  }

  const over = (read) => now.history.map((one) => [Date.parse(one.timestamp), read(one)]);
  const tile = (name, value, read, note) => figure(name, value, note, spark(over((one) => read(one) ?? 0)));

  function figures() {
    const { figures } = now;
    const minute = figures.last_minute;
    return h(
      "div.figures.four",
      { key: "figures" },
      tile(
        "Requests a second",
        rate(minute.requests_per_second),
        (one) => one.requests_per_second,
        `${count(minute.requests)} in the last minute`,
      ),
      tile(
        "Tokens a second",
        rate(minute.tokens_per_second),
        (one) => one.tokens_per_second,
        "written in the last minute",
      ),
      tile(
        "Time to first token",
        milliseconds(minute.ttft_ms.p50),
        (one) => one.last_minute.ttft_ms.p50,
        `p95 ${milliseconds(minute.ttft_ms.p95)}`,
      ),
      tile(
        "Cache hit rate",
        percent(minute.cache_hit_rate),
        (one) => one.last_minute.cache_hit_rate,
        "of the last minute",
      ),
      tile("Running", count(figures.active), (one) => one.active, `${count(figures.queued)} waiting`),
      tile(
        "Errors",
        percent(minute.error_rate),
        (one) => one.last_minute.error_rate,
        `${count(minute.errors)} in the last minute`,
      ),
      figure(
        "Cost today",
        figures.cost_today === null ? NONE : money(figures.cost_today),
        figures.cost_today === null ? "no price is known" : "since midnight, UTC",
      ),
      figure("Requests", count(figures.totals.requests), "since the service started"),
    );
  }

  const charts = () =>
    h(
      "div.columns",
      { key: "charts" },
      card(
        "Requests a second",
        {},
        lines([{ name: "requests", tone: "1", points: over((one) => one.requests_per_second) }], {
          label: "Requests a second",
          write: rate,
          span: SPAN,
        }),
      ),
      card(
        "Tokens a second",
        {},
        lines([{ name: "tokens", tone: "2", points: over((one) => one.tokens_per_second) }], {
          label: "Tokens a second",
          write: rate,
          least: 10,
          span: SPAN,
        }),
      ),
      card(
        "Time to first token",
        {},
        lines(
          [
            { name: "p50", tone: "1", points: over((one) => one.last_minute.ttft_ms.p50) },
            { name: "p95", tone: "3", points: over((one) => one.last_minute.ttft_ms.p95) },
          ],
          { label: "Time to first token", write: milliseconds, least: 10, span: SPAN },
        ),
      ),
      card(
        "At work",
        {},
        lines(
          [
            { name: "running", tone: "1", points: over((one) => one.active) },
            { name: "waiting", tone: "3", points: over((one) => one.queued) },
          ],
          { label: "Requests at work", write: rate, least: 4, span: SPAN },
        ),
      ),
    );

  function models() {
    const all = Object.entries(now.models).filter(([, one]) => one.status !== "off");
    const line = ([id, one]) =>
      h(
        "div.row.between",
        { key: id },
        h("a.link-name", { href: `#/models/${segment(id)}` }, id),
        h(
          "span.row",
          {},
          one.active_requests > 0 && h("span.muted.small", {}, `${count(one.active_requests)} running`),
          state(one.status),
        ),
      );
    return card(
      "Models at hand",
      { side: h("a", { href: "#/models" }, "All models") },
      all.length
        ? h("div.stack", {}, all.map(line))
        : h("p.muted", {}, "None is in memory; the next request loads the one it asks for."),
    );
  }

  function replicas() {
    const all = Object.entries(now.figures.replicas ?? {});
    if (all.length < 2 && now.scope !== "alone") return null;
    const columns = [
      { title: "Replica", cell: ([id]) => h("code", {}, id) },
      { title: "In flight", num: true, cell: ([, one]) => count(one.on_the_way) },
      { title: "Requests a second", num: true, cell: ([, one]) => rate(one.last_minute.requests_per_second) },
      {
        title: "Tokens a second",
        num: true,
        hide: true,
        cell: ([, one]) => rate(one.last_minute.tokens_per_second),
      },
      { title: "Models in memory", num: true, hide: true, cell: ([, one]) => count(one.models.ready ?? 0) },
      { title: "Runs for", num: true, cell: ([, one]) => seconds(one.uptime_seconds) },
    ];
    return card(
      "Replicas",
      { key: "replicas", class: "flush" },
      now.scope === "alone" &&
        h("p.note.warn", {}, "The others cannot be heard now: these are the figures of the replica that answers."),
      table("Replicas", columns, all, { key: ([id]) => id }),
    );
  }

  function draw() {
    if (!now.figures) return view.draw(head("Overview", "How the service does now."), loading(3));
    return view.draw(
      head("Overview", "Now, and over the last five minutes."),
      figures(),
      now.figures.totals.requests === 0 &&
        card(
          "",
          { key: "first" },
          empty(
            "Nothing was asked yet",
            "The first request is shown here within a second.",
            h("a.button.primary", { href: "#/playground" }, "Ask a model"),
          ),
        ),
      charts(),
      replicas(),
      h("div.columns", { key: "memory" }, vram && card("Memory", {}, pools(vram)), models()),
      latest.length > 0 &&
        card(
          "Latest requests",
          { key: "latest", class: "flush", side: h("a", { href: "#/requests" }, "All requests") },
          requestTable(latest),
        ),
    );
  }

  draw();
  latest = (await call(`v1/telemetry/requests?limit=${SHOWN}`, view)).data;
  await look();
  hear("full_status", view.signal, draw);
  hear("figures", view.signal, draw);
  hear("requests", view.signal, (told) => (latest = [...told.requests].reverse().concat(latest).slice(0, SHOWN)));
  view.every(5000, look);
}
