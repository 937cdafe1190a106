/** Cache: what it spared, why questions were not answered from it, why one was, and what shall go. */

import { call } from "../api.js";
import { h, render } from "../ui/dom.js";
import { bytes, count, milliseconds, money, NONE, percent, rate, seconds, words } from "../ui/format.js";
import { attempt, choice, dialog, field, input, say, typed } from "../ui/forms.js";
import { badge, button, card, empty, facts, figure, head, meter, table } from "../ui/page.js";

const AGES = [
  ["0", "Any age"],
  ["3600", "Older than an hour"],
  ["86400", "Older than a day"],
  ["604800", "Older than a week"],
];

export async function open(view) {
  let told = null;

  async function look() {
    told = await call("v1/cache/stats", view);
    draw();
  }

  const purge = () =>
    dialog(
      { title: "Purge the cache", action: "Purge", danger: true },
      [
        h(
          "p",
          {},
          "What fits all of this is never served again, by any replica. With nothing said, everything goes.",
        ),
        h(
          "div.fields",
          {},
          field(
            "Which cache",
            choice(
              [
                ["all", "Both"],
                ["exact", "Exact"],
                ["semantic", "In other words"],
              ],
              "all",
              { name: "tier" },
            ),
          ),
          field("Age", choice(AGES, "0", { name: "older_than" })),
          field("Model", input({ name: "model", placeholder: "Any" })),
          field("User", input({ name: "user", placeholder: "Any" })),
          field("Tag", input({ name: "tag", placeholder: "Any" })),
        ),
      ],
      async (form) => {
        const { older_than, ...which } = typed(form);
        const done = await call("v1/cache/clear", { body: { ...which, older_than: Number(older_than) } });
        say(`${count(done.cleared)} answers are gone.`);
        await look();
      },
    );

  const request = input({
    name: "request",
    value: view.query.get("request") ?? "",
    placeholder: "X-Request-ID",
    spellcheck: "false",
  });
  const answer = h("div", { "aria-live": "polite" });
  const explain = async () => {
    if (!request.value.trim()) return;
    try {
      render(
        answer,
        explained(
          await call(`v1/cache/explain?request_id=${encodeURIComponent(request.value.trim())}`, view),
          wrong,
        ),
      );
    } catch (error) {
      render(answer, h("p.note.warn", {}, error.message));
    }
  };
  const wrong = (event) =>
    attempt(event, async () => {
      await call("v1/cache/feedback", { body: { request_id: request.value.trim(), verdict: "wrong" } });
      say("That answer is never given to this question again.");
    });
  const asks = h(
    "form.stack",
    { keep: true, onsubmit: (event) => (event.preventDefault(), explain()) },
    h(
      "div.row",
      {},
      h(
        "div.grow",
        {},
        field("Request", request, "The id is below each answer in the playground, and in every answer's headers."),
      ),
      h("button.button", { type: "submit" }, "Explain"),
    ),
    answer,
  );

  function draw() {
    const asked = told.hits + told.misses;
    view.draw(
      head(
        "Cache",
        told.enabled
          ? `Answers are kept in ${told.backend === "memory" ? "this process" : words(told.backend)}; it counts since it started.`
          : "The cache is switched off in the settings (cache.enabled).",
        told.status !== "healthy" && badge(told.status, "warn"),
        view.admin && button("Purge", purge, { name: "trash" }),
      ),
      h(
        "div.figures",
        { key: "figures" },
        figure(
          "Hit rate",
          asked ? percent(told.hit_rate) : NONE,
          `${count(told.exact_hits)} exact · ${count(told.semantic_hits)} in other words`,
        ),
        figure("Misses", count(told.misses), `${count(told.bypassed)} were not looked for`),
        figure(
          "Kept",
          count(told.entries),
          h(
            "div.stack",
            {},
            `${bytes(told.bytes)} of ${bytes(told.max_bytes)}`,
            meter(told.bytes ?? 0, told.max_bytes),
          ),
        ),
        figure("Tokens spared", count(told.saved.tokens), `${seconds(told.saved.seconds)} of engine time`),
        figure(
          "Money spared",
          money(told.saved.cost),
          told.saved.unpriced_hits ? `${count(told.saved.unpriced_hits)} hits have no price` : null,
        ),
      ),
      h(
        "div.columns",
        { key: "reasons" },
        card(
          "Why nothing was looked for",
          {},
          reasons(told.bypassed_by_reason, "Every question could be looked for."),
        ),
        card("Why answers were not kept", {}, reasons(told.not_stored_by_reason, "Every answer could be kept.")),
      ),
      h(
        "div.columns",
        { key: "inside" },
        card("How long it takes", { class: "flush" }, stages()),
        card("In other words", {}, meaning()),
      ),
      card("Why was it answered like that?", { key: "explain" }, asks),
    );
  }

  function reasons(by, none) {
    const all = Object.entries(by);
    const most = Math.max(...all.map(([, many]) => many), 1);
    return all.length
      ? h(
          "div.bars",
          {},
          all
            .slice(0, 8)
            .map(([why, many]) =>
              h(
                "div.bar-row",
                { key: why },
                h("span.break", {}, words(why)),
                meter(many, most),
                h("span.num", {}, count(many)),
              ),
            ),
        )
      : h("p.muted", {}, none);
  }

  function stages() {
    const all = Object.entries(told.latency_ms);
    const columns = [
      { title: "Stage", cell: ([name]) => words(name) },
      ...["p50", "p95", "p99"].map((which) => ({
        title: which,
        num: true,
        cell: ([, times]) => milliseconds(times[which]),
      })),
    ];
    return all.length ? table("Times", columns, all, { key: ([name]) => name }) : empty("Nobody asked yet", null);
  }

  function meaning() {
    const semantic = told.semantic;
    if (!("lookups" in semantic))
      return h("p.muted", {}, "Questions in other words are not answered from the cache: cache.semantic is off.");
    return facts([
      ["Embedder", semantic.embedder && words(semantic.embedder)],
      ["Level", semantic.level && words(semantic.level)],
      ["Looked up", count(semantic.lookups)],
      ["Served", count(semantic.hits)],
      ["On trial", count(semantic.shadow_hits)],
      ["Audited", count(semantic.audited)],
      ["Found wrong", count(semantic.wrong)],
      ["Wrong at most", semantic.audited ? percent(semantic.wrong_rate.high) : NONE],
      ["May be wrong", percent(semantic.max_error)],
      ["Ruled out", count(Object.values(semantic.vetoes).reduce((sum, one) => sum + one, 0))],
    ]);
  }

  await look();
  if (request.value) await explain();
  view.every(5000, look);
}

const OUTCOMES = {
  exact: "It was answered from the exact cache.",
  semantic: "It was answered by what was said to another question.",
  miss: "Nothing that fits was kept, so the model was asked.",
  bypass: "Nobody looked: such requests are never cached.",
};

function explained(told, wrong) {
  const { semantic } = told;
  return h(
    "div.stack",
    {},
    h(
      "p",
      {},
      h("strong", {}, OUTCOMES[told.outcome] ?? words(told.outcome)),
      told.reason && ` (${words(told.reason)})`,
    ),
    facts([
      ["Model", told.model],
      ["Question", told.question && h("code.break", {}, told.question)],
      ["Entry", told.entry && h("code.break", {}, told.entry)],
    ]),
    semantic &&
      h(
        "details",
        { open: true },
        h("summary", {}, "Questions that might have meant the same"),
        considered(semantic),
      ),
    told.entry && h("div.actions", {}, button("That answer was wrong", wrong)),
  );
}

function considered(semantic) {
  const all = semantic.candidates;
  const columns = [
    { title: "Alike", num: true, cell: (one) => rate(one.similarity) },
    { title: "Wrong with", num: true, cell: (one) => percent(one.probability) },
    {
      title: "Ruled out by",
      wide: true,
      cell: (one) => (one.vetoes.length ? one.vetoes.map(words).join(", ") : NONE),
    },
  ];
  return h(
    "div.stack",
    {},
    semantic.reason && h("p", {}, semantic.reason),
    semantic.threshold !== null &&
      h("p.muted", {}, `Served below a probability of ${percent(semantic.threshold)} of being wrong.`),
    all.length > 0
      ? table("Candidates", columns, all, { key: (one) => one.entry })
      : h("p.muted", {}, "There were none."),
  );
}
