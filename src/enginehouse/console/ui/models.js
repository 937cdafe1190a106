/** What several pages show of models: their states, and where memory went. */

import { h } from "./dom.js";
import { megabytes } from "./format.js";
import { badge } from "./page.js";

const TONES = { ready: "good", loading: "busy", draining: "warn", failed: "bad", off: "" };

/** A state as a word in its colour. */
export const state = (status) => badge(status, TONES[status] ?? "");

/** One memory: what each model holds of it, what others do, and where the models' share ends. */
export function pool(name, told, holders) {
  const held = holders.reduce((sum, one) => sum + one.amount, 0);
  const others = Math.max(0, told.used_mb - held);
  const part = (amount) => `${Math.min(100, (100 * amount) / told.total_mb)}%`;
  const parts = holders.map((one, index) => ({ ...one, tone: String((index % 4) + 1) }));
  const taken = `${megabytes(told.models_mb)} of ${megabytes(told.budget_mb)} for models`;
  const free = `${megabytes(told.free_mb)} free of ${megabytes(told.total_mb)}`;
  return h(
    "div.pool",
    { key: name },
    h("div.row.between", {}, h("h3", {}, name), h("span.muted.small", {}, `${taken} · ${free}`)),
    h(
      "div.pool-bar",
      { role: "img", "aria-label": `${name}: ${taken}, ${free}` },
      parts.map((one) =>
        h(`span.pool-part.t${one.tone}${one.status === "ready" ? "" : ".reserved"}`, {
          key: one.id,
          title: `${one.id}: ${megabytes(one.amount)}`,
          vars: { part: part(one.amount) },
        }),
      ),
      h("span.pool-part.t5", {
        key: " others",
        title: `Everything else: ${megabytes(others)}`,
        vars: { part: part(others) },
      }),
      h("span.pool-mark", {
        key: " mark",
        title: `Models may take ${megabytes(told.budget_mb)}`,
        vars: { part: part(told.budget_mb) },
      }),
    ),
    h(
      "div.legend",
      { "aria-hidden": "true" },
      parts.map((one) =>
        h(
          "span.legend-entry",
          { key: one.id },
          h(`span.swatch.t${one.tone}`),
          `${one.id} ${megabytes(one.amount)}`,
        ),
      ),
      h("span.legend-entry", { key: " others" }, h("span.swatch.t5"), `everything else ${megabytes(others)}`),
    ),
  );
}

/** Every memory there is: GPUs, and main memory. */
export function pools(vram) {
  const held = Object.entries(vram.models);
  const gpus = vram.gpus.map((gpu) =>
    pool(
      `GPU ${gpu.index} · ${gpu.name}`,
      gpu,
      held
        .map(([id, one]) => ({ id, status: one.status, amount: one.gpus[gpu.index] ?? 0 }))
        .filter((one) => one.amount > 0),
    ),
  );
  const ram = held
    .map(([id, one]) => ({ id, status: one.status, amount: one.ram_mb }))
    .filter((one) => one.amount > 0);
  return [...gpus, pool("Main memory", vram.ram, ram)];
}
