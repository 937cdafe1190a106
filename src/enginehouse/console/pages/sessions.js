/** Sessions: the conversations that the service keeps for whoever is signed in. */

import { ask, call, segment } from "../api.js";
import { h } from "../ui/dom.js";
import { bytes, count, when } from "../ui/format.js";
import { attempt, dialog, field, input, say, sure, typed } from "../ui/forms.js";
import { badge, button, card, empty, head, iconButton, table } from "../ui/page.js";
import { download } from "../ui/files.js";

const ROOT = "api/v1/sessions";

export async function open(view) {
  return view.rest ? one(view, view.rest) : list(view);
}

async function list(view) {
  let sessions = [];
  let cursor = null;

  async function more(event) {
    await attempt(event, async () => {
      const page = await call(`${ROOT}?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`, view);
      sessions = sessions.concat(page.data);
      cursor = page.next_cursor;
      draw();
    });
  }

  const rename = (session) => () =>
    dialog(
      { title: "Rename", action: "Rename" },
      [field("Title", input({ name: "title", value: session.title ?? "", required: true, maxlength: "200" }))],
      async (form) => {
        Object.assign(
          session,
          await call(`${ROOT}/${segment(session.id)}`, { method: "PATCH", body: { title: typed(form).title } }),
        );
        draw();
      },
    );

  const remove = (session) => () =>
    sure(
      "Delete this conversation?",
      `“${session.title || session.id}” and what is cached of it are gone for good.`,
      "Delete",
      async () => {
        await call(`${ROOT}/${segment(session.id)}`, { method: "DELETE" });
        sessions = sessions.filter((other) => other !== session);
        say("The conversation is deleted.");
        draw();
      },
    );

  const named = (session) => session.title || session.id;
  const columns = [
    {
      title: "Conversation",
      wide: true,
      cell: (session) => [
        h("a.link-name", { href: `#/sessions/${segment(session.id)}` }, named(session)),
        h("div.muted.small.break", {}, session.id),
      ],
    },
    { title: "Model", hide: true, cell: (session) => session.model ?? h("span.muted", {}, "default") },
    { title: "Messages", num: true, cell: (session) => count(session.message_count) },
    { title: "Size", num: true, hide: true, cell: (session) => bytes(session.bytes) },
    { title: "Last changed", num: true, hide: true, cell: (session) => when(session.updated_at) },
    {
      title: "",
      num: true,
      cell: (session) =>
        h(
          "div.actions.tight",
          {},
          button("Rename", rename(session), { kind: "small", "aria-label": `Rename ${named(session)}` }),
          iconButton("trash", `Delete ${named(session)}`, remove(session)),
        ),
    },
  ];

  function draw() {
    view.draw(
      head("Sessions", "Your conversations, the last changed first. Nobody else can read them, admins neither."),
      card(
        "",
        { class: "flush" },
        sessions.length
          ? table("Sessions", columns, sessions, { key: (session) => session.id })
          : empty(
              "No conversations yet",
              "A chat that names a session is kept here, with all its branches.",
              h("a.button", { href: `#/playground?session=${freshId()}` }, "Begin one"),
            ),
      ),
      cursor && h("div.actions", { key: "more" }, button("Show more", more)),
    );
  }

  const page = await call(`${ROOT}?limit=50`, view);
  sessions = page.data;
  cursor = page.next_cursor;
  draw();
}

const freshId = () => `console-${Date.now().toString(36)}`;

async function one(view, id) {
  const path = `${ROOT}/${segment(id)}`;
  const [session, messages] = await Promise.all([call(path, view), call(`${path}/messages?limit=1000`, view)]);
  const save = (format, ending) => (event) =>
    attempt(event, async () => download(await ask(`${path}/export?format=${format}`, view), `${id}.${ending}`));
  const line = (message) =>
    h(
      `div.turn.${message.role === "user" ? "user" : "assistant"}`,
      { key: message.id },
      h("span.visually-hidden", {}, message.role),
      h("div.turn-text", {}, message.content ?? ""),
      h(
        "div.turn-foot",
        {},
        message.model,
        when(message.created_at),
        message.usage &&
          h(
            "span",
            {},
            `${count(message.usage.input + message.usage.cached_input)} + ${count(message.usage.output)} tokens`,
          ),
        message.status !== "complete" && badge(message.status, "warn"),
        message.error && h("span", {}, String(message.error.message ?? message.error)),
      ),
    );
  view.draw(
    head(
      session.title || session.id,
      `${count(session.message_count)} messages in all branches; this is the one that is gone on with.`,
      h("a.button.primary", { href: `#/playground?session=${segment(id)}` }, "Go on with it"),
      button("Markdown", save("markdown", "md"), { name: "download" }),
      button("JSON", save("json", "json"), { name: "download" }),
      h("a.button", { href: "#/sessions" }, "All sessions"),
    ),
    session.system && card("System prompt", {}, h("p.break", {}, session.system)),
    card(
      "",
      {},
      h(
        "div.talk",
        {},
        messages.data.length
          ? messages.data.map(line)
          : empty("Nothing was said yet", "Go on with it in the playground."),
      ),
    ),
  );
}
