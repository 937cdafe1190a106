/** The console's icons: strokes on a grid of 16, coloured as the text beside them. */

import { h } from "./dom.js";

const PATHS = {
  overview: "M2 13h12M4 10.5V8M8 10.5V3M12 10.5V6",
  models: "M8 1.8 14 5v6l-6 3.2L2 11V5zM2 5l6 3.2L14 5M8 8.2v6",
  queue: "M2 4h12M2 8h9M2 12h6",
  requests: "M2 4h7M5 8h9M3 12h6",
  playground: "M2.5 3h11v8H8l-3.5 2.5V11h-2z",
  sessions: "M5 2.5h8.5v7H12M2.5 5.5H11v6H6.5L4 13.5v-2H2.5z",
  usage:
    "M8 1.8v12.4M11 4.3C10.4 3.4 9.3 3 8 3 6.2 3 5 3.9 5 5.4c0 3.4 6.2 1.7 6.2 5.1C11.2 12 9.9 13 8 13c-1.5 0-2.7-.6-3.3-1.6",
  keys: "M9.5 6.5a3.5 3.5 0 1 0-2.6 3.4L8 8.8h1.5V7.3H11L13.5 9.8M6 5.5h.01",
  cache:
    "M2.5 4c0-1.2 2.5-2 5.5-2s5.5.8 5.5 2-2.5 2-5.5 2-5.5-.8-5.5-2zv8c0 1.2 2.5 2 5.5 2s5.5-.8 5.5-2V4M2.5 8c0 1.2 2.5 2 5.5 2s5.5-.8 5.5-2",
  settings: "M2 4.5h6M11 4.5h3M9.5 3v3M2 11.5h3M8 11.5h6M6.5 10v3",
  menu: "M2 4h12M2 8h12M2 12h12",
  theme: "M8 2v12a6 6 0 0 0 0-12zM8 2a6 6 0 0 0 0 12",
  out: "M6.5 2.5h-4v11h4M10 5l3 3-3 3M13 8H6",
  pin: "M6 2h4l-.5 4.5L12 9H4l2.5-2.5zM8 9v5",
  copy: "M5.5 5.5h8v8h-8zM3 10.5H2.5v-8h8V3",
  send: "M2.5 8 13.5 3l-4 11-2.2-4.6zM7.3 9.4 13.5 3",
  stop: "M4 4h8v8H4z",
  plus: "M8 3v10M3 8h10",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.5 10.5 14 14",
  download: "M8 2v8M4.5 7 8 10.5 11.5 7M2.5 13.5h11",
  trash: "M3 4.5h10M6 4.5V3h4v1.5M4.5 4.5 5 13.5h6l.5-9",
  refresh: "M13 8a5 5 0 1 1-1.5-3.6M13 2v3h-3",
};

/** An icon; what it means has to be said beside it. */
export const icon = (name) =>
  h("svg.icon", { viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" }, h("path", { d: PATHS[name] }));
