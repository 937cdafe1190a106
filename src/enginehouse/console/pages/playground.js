/** Playground: ask a model, label a text, search a collection, and see what each of them cost in time. */

import { h } from "../ui/dom.js";
import { head, tabs } from "../ui/page.js";
import { chat } from "./playground/chat.js";
import { classify } from "./playground/classify.js";
import { search } from "./playground/search.js";

const TABS = [
  ["#/playground", "Chat"],
  ["#/playground/classify", "Classify"],
  ["#/playground/search", "Vector search"],
];
const PARTS = { "": chat, classify, search };

export async function open(view) {
  const chosen = view.rest in PARTS ? view.rest : "";
  const body = h("div.stack", { key: `part ${chosen}`, keep: true });
  view.draw(
    head("Playground", "What is asked here goes the way of every request: keys, limits, line, cache, ledger."),
    tabs("What to try", TABS, chosen ? `#/playground/${chosen}` : "#/playground"),
    body,
  );
  await PARTS[chosen](body, view);
}
