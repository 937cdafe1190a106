/** Numbers, amounts and times as people of the browser's language read them. */

import { h } from "./dom.js";

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const precise = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const share = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });

/** What stands where nothing is known. */
export const NONE = "–";

const known = (value) => value !== null && value !== undefined && Number.isFinite(Number(value));
const or = (write) => (value) => (known(value) ? write(Number(value)) : NONE);

export const count = or((value) => (Math.abs(value) < 100_000 ? whole.format(value) : short.format(value)));
export const rate = or((value) => (value && Math.abs(value) < 100 ? precise.format(value) : whole.format(value)));
export const percent = or((value) => share.format(value));

/** Dollars; small amounts keep the digits that say something. */
export const money = or((value) => {
  const digits =
    value === 0 || Math.abs(value) >= 1 ? 2 : Math.min(8, 1 - Math.floor(Math.log10(Math.abs(value))) + 1);
  return new Intl.NumberFormat(undefined, {
    style: "currency",
    currency: "USD",
    minimumFractionDigits: 2,
    maximumFractionDigits: Math.max(2, digits),
  }).format(value);
});

/** Megabytes (of 1024 × 1024). */
export const megabytes = or((value) =>
  value >= 1024 ? `${precise.format(value / 1024)} GB` : `${whole.format(value)} MB`,
);

/** Bytes. */
export const bytes = or((value) =>
  value < 1024 * 1024 ? `${precise.format(value / 1024)} kB` : megabytes(value / 1048576),
);

/** Milliseconds. */
export const milliseconds = or((value) => {
  if (value >= 10_000) return seconds(value / 1000);
  return value >= 1000 ? `${precise.format(value / 1000)} s` : `${precise.format(value)} ms`;
});

/** Seconds, as a span of time. */
export const seconds = or((value) => {
  if (value < 60) return `${precise.format(value)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  if (value < 86_400) return `${Math.floor(value / 3600)} h ${Math.round((value % 3600) / 60)} min`;
  return `${Math.floor(value / 86_400)} d ${Math.round((value % 86_400) / 3600)} h`;
});

const STEPS = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

/** A moment: how long ago, and exactly when under the pointer. */
export function when(moment) {
  if (!moment) return NONE;
  const date = moment instanceof Date ? moment : new Date(moment);
  if (Number.isNaN(date.getTime())) return NONE;
  return h("time", { datetime: date.toISOString(), title: exact.format(date) }, since(date));
}

/** A moment in words, relative to now. */
export function since(date, now = Date.now()) {
  const away = (date.getTime() - now) / 1000;
  const [unit, size] = STEPS.find(([, size]) => Math.abs(away) >= size) ?? ["second", 1];
  return relative.format(Math.trunc(away / size), unit);
}

/** A moment in full. */
export const moment = (date) => exact.format(new Date(date));

const NAMES = {
  llama_server: "llama.cpp",
  onnx: "ONNX",
  ollama: "Ollama",
  openai: "OpenAI",
  anthropic: "Anthropic",
};

/** An engine as its makers write it. */
export const engine = (name) => NAMES[name] ?? name;

/** A word of the API for people: `not_stored` → "not stored". */
export const words = (name) => String(name).replaceAll("_", " ");

/** A sentence of the service's own, with what stands between backticks as code. */
export const prose = (text) => text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
