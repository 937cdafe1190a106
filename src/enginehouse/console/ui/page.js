/** What pages are made of: a head, cards, tables, figures, badges, and what stands where there is nothing. */

import { h } from "./dom.js";
import { icon } from "./icons.js";

/** A page's head: what it is, in a sentence what for, and what can be done here. */
export const head = (title, text, ...actions) =>
  h(
    "header.page-head",
    {},
    h("div", {}, h("h1", { tabindex: "-1" }, title), text && h("p.muted", {}, text)),
    h("div.actions", {}, actions),
  );

/** A section with a title of its own. */
export const card = (title, props, ...body) =>
  h(
    "section.card",
    { ...props, "aria-label": title || null },
    title && h("div.card-head", {}, h("h2", {}, title), props?.side),
    body,
  );

/** A button. */
export const button = (text, onclick, { kind = "", name, ...rest } = {}) =>
  h(
    `button.button${kind && `.${kind}`}`,
    { type: "button", onclick, ...rest },
    name && icon(name),
    h("span", {}, text),
  );

/** A button that is only an icon; `text` is its name for who cannot see it. */
export const iconButton = (name, text, onclick, props = {}) =>
  h("button.icon-button", { type: "button", onclick, "aria-label": text, title: text, ...props }, icon(name));

/** A word in a frame; the tone is good, warn, bad, busy or nothing. */
export const badge = (text, tone = "") => h(`span.badge${tone && `.${tone}`}`, {}, text);

/** A figure with what it means. */
export const figure = (name, value, note, extra) =>
  h(
    "div.figure",
    { key: name },
    h("div.figure-name", {}, name),
    h("div.figure-value", {}, value),
    note && h("div.figure-note", {}, note),
    extra,
  );

/** Where there is nothing: why, and what to do. */
export const empty = (title, text, ...actions) =>
  h(
    "div.empty",
    {},
    h("p.empty-title", {}, title),
    text && h("p.muted", {}, text),
    actions.length > 0 && h("div.actions", {}, actions),
  );

/** What went wrong, in words. */
export const trouble = (error, again) =>
  h(
    "div.trouble",
    { role: "alert" },
    h(
      "div",
      {},
      h("strong", {}, error.message),
      error.requestId && h("p.muted.small", {}, `Request ${error.requestId}`),
    ),
    again && button("Try again", again),
  );

/** Grey shapes while something is fetched. */
export const loading = (lines = 4) =>
  h(
    "div.loading",
    { role: "status", "aria-label": "Loading" },
    Array.from({ length: lines }, () => h("div.bone", {})),
  );

/** A table.
 *  @param {string} caption what it holds, for who cannot see it
 *  @param {{title: string, cell: function, num?: boolean, wide?: boolean, hide?: boolean}[]} columns
 *      `num` is aligned right, `hide` is left out on small screens
 *  @param {any[]} rows
 *  @param {{key: function, row?: function, open?: function}} how */
export function table(caption, columns, rows, { key, attributes = () => ({}), below = () => null }) {
  const css = (column) =>
    [column.num && "num", column.hide && "hide", column.wide && "wide"].filter(Boolean).join(" ");
  const line = (row) => [
    h(
      "tr",
      { key: key(row), ...attributes(row) },
      columns.map((column) => h("td", { class: css(column) }, column.cell(row))),
    ),
    below(row) && h("tr.below", { key: `${key(row)} below` }, h("td", { colspan: columns.length }, below(row))),
  ];
  return h(
    "div.table-frame",
    { role: "region", "aria-label": caption, tabindex: "0" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map((column) => h("th", { scope: "col", class: css(column) }, column.title)),
        ),
      ),
      h("tbody", {}, rows.map(line)),
    ),
  );
}

/** Names and what they are. */
export const facts = (pairs) =>
  h(
    "dl.facts",
    {},
    pairs
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([name, value]) => h("div", { key: name }, h("dt", {}, name), h("dd", {}, value))),
  );

/** A part of a whole, as a bar. */
export const meter = (part, whole, { tone = "", name } = {}) =>
  h(
    "span.meter",
    { role: "img", "aria-label": name ?? null, "aria-hidden": name ? null : "true" },
    h(`span.meter-fill${tone && `.${tone}`}`, {
      vars: { part: `${whole > 0 ? Math.min(100, (100 * part) / whole) : 0}%` },
    }),
  );

/** Pages within a page.
 *  @param {[string, string][]} tabs address and name */
export const tabs = (name, all, chosen) =>
  h(
    "nav.tabs",
    { "aria-label": name },
    all.map(([to, text]) => h("a", { href: to, "aria-current": to === chosen ? "page" : null }, text)),
  );
