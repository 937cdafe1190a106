/** Vector search: texts put into a collection, and what of it means the same as a question. */

import { call, segment } from "../../api.js";
import { h, render } from "../../ui/dom.js";
import { count, milliseconds, rate } from "../../ui/format.js";
import { area, attempt, choice, dialog, field, input, say, sure, typed } from "../../ui/forms.js";
import { badge, button, card, empty, meter } from "../../ui/page.js";

export async function search(body, view) {
  let chosen = view.query.get("collection") ?? "";
  const [models, first] = await Promise.all([call("v1/models", view), call("v1/vector/collections", view)]);
  const embedders = models.data.filter((model) => model.type === "embedding");
  let collections = first.collections;
  const result = h("div", { keep: true, "aria-live": "polite" });

  async function look(name = chosen) {
    collections = (await call("v1/vector/collections", view)).collections;
    chosen = name;
    draw();
  }

  const make = () =>
    dialog(
      { title: "New collection", action: "Make it" },
      [
        field("Name", input({ name: "name", required: true, pattern: "[A-Za-z0-9_.\\-]+", value: "notes" })),
        field(
          "Embedding model",
          choice(
            embedders.map((one) => [one.id, one.id]),
            embedders[0]?.id,
            { name: "model" },
          ),
          "It makes vectors of texts, and of questions.",
        ),
      ],
      async (form) => {
        const { name, model } = typed(form);
        const probe = await call("v1/embeddings", { body: { model, input: "size" } });
        await call("v1/vector/collections", {
          body: { name, embedding_model: model, vector_size: probe.data[0].embedding.length, distance: "cosine" },
        });
        await look(name);
      },
    );

  const drop = () =>
    sure(`Delete ${chosen}?`, "The collection and every point in it are gone for good.", "Delete", async () => {
      await call(`v1/vector/collections/${segment(chosen)}`, { method: "DELETE" });
      render(result);
      await look("");
    });

  const texts = area({ rows: 5, placeholder: "One text a line" });
  const add = (event) =>
    attempt(event, async () => {
      const lines = texts.value
        .split("\n")
        .map((line) => line.trim())
        .filter(Boolean);
      if (!lines.length) return;
      const points = lines.map((text, index) => ({
        id: `${Date.now().toString(36)}-${index}`,
        text,
        payload: { text },
      }));
      await call("v1/vector/points", { body: { collection_name: chosen, points } });
      texts.value = "";
      say(`${count(lines.length)} texts are in ${chosen}.`);
      await look();
    });

  const question = input({
    type: "search",
    placeholder: "What to look for",
    onkeydown: (event) => event.key === "Enter" && find(event),
  });
  const find = (event) =>
    attempt(event.type === "click" ? event : null, async () => {
      const query_text = question.value.trim();
      if (!query_text) return;
      const began = performance.now();
      const told = await call("v1/vector/search", {
        body: { collection_name: chosen, query_text, limit: 10 },
        signal: view.signal,
      });
      render(result, hits(told.results, performance.now() - began));
    });

  const pick = choice([], "", { onchange: () => ((chosen = pick.value), render(result), draw()) });
  const forms = h(
    "div.columns",
    { keep: true },
    card("Add texts", {}, field("Texts", texts), h("div.actions.end", {}, button("Add", add))),
    card(
      "Search",
      {},
      field("Question", question),
      h("div.actions.end", {}, button("Search", find, { kind: "primary" })),
      result,
    ),
  );

  function draw() {
    if (!collections.some((one) => one.name === chosen)) chosen = collections[0]?.name ?? "";
    if (!chosen) {
      render(
        body,
        empty(
          "There is no collection",
          "A collection holds texts as vectors, so that what means the same can be found.",
          embedders.length
            ? button("New collection", make, { kind: "primary", name: "plus" })
            : h("p", {}, "It wants an embedding model; there is none."),
        ),
      );
      return;
    }
    const one = collections.find((other) => other.name === chosen);
    render(
      pick,
      collections.map((other) => h("option", { value: other.name, key: other.name }, other.name)),
    );
    pick.value = chosen;
    const about = [
      badge(`${count(one.points_count)} points`),
      badge(`${one.vector_size} × ${one.distance}`),
      one.embedding_model && badge(one.embedding_model),
    ];
    render(
      body,
      h(
        "div.filters",
        {},
        field("Collection", pick),
        button("New", make, { name: "plus" }),
        button("Delete", drop, { name: "trash" }),
        h("div.row", {}, about),
      ),
      forms,
    );
  }

  draw();
}

function hits(found, took) {
  if (!found.length) return empty("Nothing found", "The collection holds nothing yet, or nothing like it.");
  const row = (hit) =>
    h(
      "div.bar-row",
      { key: hit.id },
      meter(Math.max(0, hit.score), 1),
      h("span.break", {}, hit.payload?.text ?? JSON.stringify(hit.payload ?? hit.id)),
      h("span.num", {}, rate(hit.score)),
    );
  return h(
    "div.stack",
    {},
    h("div.bars", {}, found.map(row)),
    h(
      "p.muted.small",
      {},
      `${count(found.length)} found in ${milliseconds(took)}, the way there and back included`,
    ),
  );
}
