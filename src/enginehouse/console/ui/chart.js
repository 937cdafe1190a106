/** Charts drawn as SVG: lines over time, bars by day, and small lines beside a figure. */

import { h } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 132;

/** Lines over time.
 *  @param {{name: string, tone: string, points: [number, number|null][]}[]} series times in milliseconds
 *  @param {{label: string, write: function, least?: number, span?: number}} how what it shows, how values are written,
 *      the least value that the top of the chart stands for, and how many milliseconds are shown at least */
export function lines(series, { label, write, least = 1, span = 1 }) {
  const times = series.flatMap((one) => one.points.map(([at]) => at));
  const values = series.flatMap((one) => one.points.map(([, value]) => value ?? 0));
  const to = times.length ? Math.max(...times) : Date.now();
  const from = Math.min(...times, to - span);
  const top = nice(Math.max(least, ...values));
  const x = (at) => ((at - from) / (to - from)) * WIDTH;
  const y = (value) => HEIGHT - (value / top) * HEIGHT;
  const drawn = series.flatMap((one) => [
    series.length === 1 && h("path", { class: `chart-area t${one.tone}`, d: area(one.points, x, y) }),
    h("path", { class: `chart-line t${one.tone}`, d: path(one.points, x, y) }),
  ]);
  const latest = series.map((one) => `${one.name}: ${write(one.points.at(-1)?.[1])}`).join(", ");
  return frame(`${label}. Now ${latest}`, drawn, top, write, [clock(from), clock(to)], legend(series, write));
}

/** Bars side by side, one a day or hour, made of parts.
 *  @param {{name: string, tone: string, values: number[]}[]} series
 *  @param {string[]} names of the bars */
export function bars(series, names, { label, write, least = 0 }) {
  const sums = names.map((_, index) => series.reduce((sum, one) => sum + (one.values[index] ?? 0), 0));
  const top = nice(Math.max(least, ...sums)) || 1;
  const step = WIDTH / Math.max(names.length, 1);
  const wide = Math.max(1, Math.min(step * 0.72, 48));
  const drawn = names.flatMap((name, index) => {
    let below = 0;
    return series.map((one) => {
      const value = one.values[index] ?? 0;
      const height = (value / top) * HEIGHT;
      below += height;
      const box = {
        x: index * step + (step - wide) / 2,
        y: HEIGHT - below,
        width: wide,
        height,
        class: `chart-bar t${one.tone}`,
      };
      return value > 0 && h("rect", box, h("title", {}, `${name} · ${one.name}: ${write(value)}`));
    });
  });
  const summary = `${label}: ${write(sums.reduce((one, other) => one + other, 0))} in all`;
  return frame(
    summary,
    drawn,
    top,
    write,
    [names[0] ?? "", names.at(-1) ?? ""],
    series.length > 1 && legend(series),
  );
}

/** A small line without axes, beside the figure that it belongs to. */
export function spark(points, tone = "1") {
  const top = Math.max(...points.map(([, value]) => value ?? 0), 1e-9);
  const x = (at) => (points.length > 1 ? ((at - points[0][0]) / (points.at(-1)[0] - points[0][0] || 1)) * 100 : 0);
  const y = (value) => 27 - (value / top) * 25;
  const d = points.length > 1 ? path(points, x, y) : "";
  return h(
    "div.spark",
    { "aria-hidden": "true" },
    h(
      "svg",
      { viewBox: "0 0 100 28", preserveAspectRatio: "none" },
      h("path", { class: `chart-line t${tone}`, d }),
    ),
  );
}

/** What the colours mean. */
export const legend = (series, write) =>
  h(
    "div.legend",
    {},
    series.map((one) =>
      h(
        "span.legend-entry",
        { key: one.name },
        h(`span.swatch.t${one.tone}`),
        one.name,
        write && one.points?.length ? ` ${write(one.points.at(-1)[1])}` : "",
      ),
    ),
  );

function frame(label, drawn, top, write, ends, below) {
  const grid = [0, 0.5, 1].map((part) =>
    h("line", { class: "chart-grid", x1: 0, x2: WIDTH, y1: HEIGHT * part, y2: HEIGHT * part }),
  );
  return h(
    "div.chart",
    {},
    h(
      "div.chart-frame",
      {},
      h(
        "div.chart-axis",
        { "aria-hidden": "true" },
        [top, top / 2, 0].map((value) => h("span", {}, write(value))),
      ),
      h(
        "svg",
        { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
        grid,
        drawn,
      ),
      h(
        "div.chart-times",
        { "aria-hidden": "true" },
        ends.map((end) => h("span", {}, end)),
      ),
    ),
    below,
  );
}

const path = (points, x, y) => {
  let pen = "M";
  return points
    .map(([at, value]) => {
      if (value === null) return ((pen = "M"), "");
      const step = `${pen}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
      return step;
    })
    .join("");
};

const area = (points, x, y) => {
  const seen = points.filter(([, value]) => value !== null);
  return seen.length > 1
    ? `${path(seen, x, y)}L${x(seen.at(-1)[0]).toFixed(1)} ${HEIGHT}L${x(seen[0][0]).toFixed(1)} ${HEIGHT}Z`
    : "";
};

/** The next round number. */
function nice(value) {
  if (!(value > 0)) return 0;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 0.999) * power;
}

const clock = (at) =>
  new Date(at).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
