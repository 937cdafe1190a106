/** What an answer's head says of the way it came. */

import { milliseconds, words } from "../../ui/format.js";
import { badge } from "../../ui/page.js";

const TIERS = { exact: "good", semantic: "good", miss: "", bypass: "" };

/** Phases and their milliseconds, of a `Server-Timing` header. */
export function phases(answer) {
  const told = answer.headers.get("Server-Timing") ?? "";
  return told.split(",").flatMap((part) => {
    const [, name, took] = /^\s*(\w+);dur=([\d.]+)/.exec(part) ?? [];
    return name ? [[name, Number(took)]] : [];
  });
}

/** Whether it was kept from an earlier question. */
export const isHit = (answer) => ["exact", "semantic"].includes(answer.headers.get("X-Enginehouse-Cache"));

/** Which cache answered, if any. */
export function tier(answer) {
  const name = answer.headers.get("X-Enginehouse-Cache");
  return name && badge(name === "miss" ? "cache: miss" : `cache: ${words(name)}`, TIERS[name] ?? "");
}

/** The phases that took time, as one line. */
export const told = (all) =>
  all
    .filter(([, took]) => took >= 0.5)
    .map(([name, took]) => `${name} ${milliseconds(took)}`)
    .join(" · ");
