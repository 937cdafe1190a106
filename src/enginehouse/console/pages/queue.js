/** Queue: who waits for which model, by priority, and how long those before them did. */

import { call } from "../api.js";
import { hear } from "../events.js";
import { h } from "../ui/dom.js";
import { count, milliseconds, percent } from "../ui/format.js";
import { tick } from "../ui/forms.js";
import { card, empty, figure, head, meter, table } from "../ui/page.js";

const PRIORITIES = ["high", "normal", "low"];
const SCOPES = {
  shared: "shared by all replicas",
  added: "the lines of all replicas added up",
  alone: "alone: the shared store is away",
};

export async function open(view) {
  let queues = {};
  let all = false;

  const everything = h(
    "div",
    { keep: true },
    tick("Models that nobody asked yet too", {
      onchange: (event) => ((all = event.currentTarget.checked), draw()),
    }),
  );

  const columns = [
    {
      title: "Model",
      cell: ([id, line]) => [
        h("a.link-name", { href: `#/models/${encodeURIComponent(id)}` }, id),
        line.scope !== "replica" &&
          h(
            "div.muted.small",
            {},
            SCOPES[line.scope] ?? line.scope,
          ),
      ],
    },
    {
      title: "Slots",
      cell: ([id, line]) =>
        h(
          "div.stack",
          {},
          h("span.num", {}, `${count(line.active)} of ${count(line.slots)}`),
          meter(line.active, line.slots, {
            tone: line.active >= line.slots ? "warn" : "",
            name: `${id}: ${line.active} of ${line.slots} slots taken`,
          }),
        ),
    },
    ...PRIORITIES.map((priority) => ({
      title: priority[0].toUpperCase() + priority.slice(1),
      num: true,
      cell: ([, line]) => count(line.queued[priority]),
    })),
    { title: "Wait p50", num: true, hide: true, cell: ([, line]) => milliseconds(line.wait_p50_ms) },
    { title: "Wait p95", num: true, cell: ([, line]) => milliseconds(line.wait_p95_ms) },
    { title: "Served", num: true, hide: true, cell: ([, line]) => count(line.served) },
    { title: "Refused", num: true, hide: true, cell: ([, line]) => count(line.rejected) },
    { title: "Timed out", num: true, hide: true, cell: ([, line]) => count(line.timed_out) },
    { title: "Gave up", num: true, hide: true, cell: ([, line]) => count(line.left) },
  ];

  async function look() {
    queues = (await call("v1/queue/stats", view)).queues;
    draw();
  }

  function draw() {
    const every = Object.entries(queues);
    const asked = every.filter(
      ([, line]) => line.total || line.active || line.served || line.rejected || line.timed_out || line.left,
    );
    const shown = (all ? every : asked).sort(
      ([, one], [, other]) => other.total - one.total || other.served - one.served,
    );
    const sum = (read) => every.reduce((total, [, line]) => total + read(line), 0);
    const refused = sum((line) => line.rejected + line.timed_out);
    const served = sum((line) => line.served);
    view.draw(
      head("Queue", "Who waits for a slot, and who has one. Where nobody waits, requests run at once.", everything),
      h(
        "div.figures",
        {},
        figure(
          "Waiting",
          count(sum((line) => line.total)),
          PRIORITIES.map((priority) => `${count(sum((line) => line.queued[priority]))} ${priority}`).join(" · "),
        ),
        figure(
          "Running",
          count(sum((line) => line.active)),
          `${count(every.filter(([, line]) => line.active).length)} models at work`,
        ),
        figure("Served", count(served), "since the service started"),
        figure(
          "Turned away",
          count(refused),
          served + refused ? `${percent(refused / (served + refused))} of all` : "none yet",
        ),
      ),
      card(
        "",
        { class: "flush", key: "lines" },
        shown.length
          ? table("Queues", columns, shown, { key: ([id]) => id })
          : empty(
              "Nobody has asked a model yet",
              "As soon as a request comes, its model's line is shown here.",
              h("a.button", { href: "#/playground" }, "Try one in the playground"),
            ),
      ),
    );
  }

  await look();
  hear("queue_update", view.signal, (told) => (Object.assign(queues, told.queues), draw()));
  view.every(5000, look);
}
