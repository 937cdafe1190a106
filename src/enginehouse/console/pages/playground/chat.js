/** Chat: a conversation in this tab, or in a session of the service, with any model and what a request may say. */

import { ask, call, framesOf, segment } from "../../api.js";
import { h, render } from "../../ui/dom.js";
import { count, milliseconds, rate } from "../../ui/format.js";
import { area, choice, field, input, say, tick } from "../../ui/forms.js";
import { badge, button, card, empty } from "../../ui/page.js";
import { isHit, phases, tier, told } from "./timing.js";

const SCHEMA = `{
  "type": "object",
  "properties": {
    "answer": { "type": "string" }
  },
  "required": ["answer"]
}`;

/** What was said, while the console is open. */
let turns = [];

export async function chat(body, view) {
  const models = (await call("v1/models", view)).data.filter((model) => model.type === "chat");
  if (!models.length) {
    return render(
      body,
      empty(
        "There is no chat model",
        "Register one, or name a server that has some, in the settings.",
        h("a.button", { href: "#/models" }, "Models"),
      ),
    );
  }
  const session = view.query.get("session");
  if (session !== null || turns.session) turns = await remembered(session, view);
  const ready = models.find((model) => model.status === "ready") ?? models[0];
  const controls = form(models, turns.model ?? ready.id, session);
  const talk = h("div.talk", { keep: true });
  const scroll = h("div.chat-scroll", { tabindex: "0", role: "log", "aria-label": "Conversation" }, talk);
  let running = null;

  const draw = () => {
    const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
    render(
      talk,
      turns.length
        ? turns.map(bubble)
        : empty("Nothing was said yet", "Write below; Enter sends, Shift+Enter begins a new line."),
    );
    if (atEnd) scroll.scrollTop = scroll.scrollHeight;
    render(
      go,
      running ? button("Stop", stop, { name: "stop" }) : button("Send", send, { kind: "primary", name: "send" }),
    );
  };

  const stop = () => running?.abort();

  async function send() {
    const text = controls.text.value.trim();
    if (!text || running) return;
    let request;
    try {
      request = controls.request([...turns.filter((turn) => !turn.error && turn.text), { role: "user", text }]);
    } catch (error) {
      say(error.message, "bad");
      return;
    }
    controls.text.value = "";
    turns.push({ role: "user", text });
    const answer = { role: "assistant", text: "", running: true, model: request.body.model };
    turns.push(answer);
    running = new AbortController();
    view.signal.addEventListener("abort", stop);
    draw();
    await listen(request, answer, running.signal, draw);
    running = null;
    draw();
    controls.text.focus();
  }

  controls.text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  const go = h("div.actions.end");
  const clear = button(
    "New conversation",
    () => (stop(), (turns = []), session === null ? draw() : (location.hash = "#/playground")),
  );
  const composer = h(
    "div.composer",
    {},
    h("label.visually-hidden", { for: controls.text.id }, "Message"),
    controls.text,
    h("div.row.between", {}, clear, go),
  );
  render(
    body,
    h(
      "div.columns.side-by-side",
      {},
      h("section.card", { "aria-label": "Chat" }, scroll, composer),
      card("Request", {}, controls.fields),
    ),
  );
  draw();
  scroll.scrollTop = scroll.scrollHeight;
}

/** What was said in a session so far, and that it goes on there. */
async function remembered(session, view) {
  if (session === null) return [];
  const path = `api/v1/sessions/${segment(session)}`;
  const [about, messages] = await Promise.all([call(path, view), call(`${path}/messages?limit=200`, view)]);
  const said = messages.data.map((message) => ({
    role: message.role,
    text: message.content ?? "",
    model: message.model,
  }));
  return Object.assign(said, { session, model: about.model ?? undefined });
}

/** The controls, and what they ask for. */
function form(models, chosen, session) {
  const text = area({ id: "message", placeholder: "Write a message", rows: 3 });
  const model = choice(
    models.map((one) => [one.id, one.status === "ready" ? `${one.id} (ready)` : one.id]),
    chosen,
  );
  const system = area({ rows: 2, placeholder: "None" });
  const temperature = input({ type: "number", min: "0", max: "2", step: "0.1", placeholder: "The model's own" });
  const most = input({ type: "number", min: "1", step: "1", value: "512" });
  const schema = area({ rows: 8, class: "mono", spellcheck: "false" });
  const schemaField = field("JSON schema", schema, "The answer is made to fit it.");
  const wantsSchema = tick("Answer in JSON", { onchange: (event) => show(event.currentTarget.checked) });
  const fresh = tick("Do not answer from the cache");
  const show = (wanted) => {
    if (wanted && !schema.value) schema.value = SCHEMA;
    schemaField.hidden = !wanted;
  };
  show(false);
  const fields = h(
    "div.stack",
    {},
    field("Model", model),
    session === null
      ? field("System prompt", system)
      : h("p.note", {}, "This goes on in the session ", h("strong.break", {}, session), "."),
    h("div.fields", {}, field("Temperature", temperature), field("Most tokens", most)),
    fresh,
    session === null && [wantsSchema, schemaField],
  );

  function request(said) {
    const body = { model: model.value, stream: true, stream_options: { include_usage: true } };
    if (temperature.value !== "") body.temperature = Number(temperature.value);
    if (most.value !== "") body.max_tokens = Number(most.value);
    if (!schemaField.hidden)
      body.response_format = {
        type: "json_schema",
        json_schema: { name: "answer", strict: true, schema: parsed(schema.value) },
      };
    const messages = said.map((turn) => ({ role: turn.role, content: turn.text }));
    if (session === null && system.value.trim()) messages.unshift({ role: "system", content: system.value.trim() });
    body.messages = session === null ? messages : messages.slice(-1);
    const headers = {};
    if (fresh.querySelector("input").checked) headers["Cache-Control"] = "no-cache";
    if (session !== null) headers["X-Session-ID"] = session;
    return { body, headers };
  }

  return { text, fields, request };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`The schema is no JSON: ${error.message}`);
  }
}

/** Take in an answer as it comes; however it ends, the turn says so. */
async function listen(request, turn, signal, draw) {
  const began = performance.now();
  try {
    const answer = await ask("v1/chat/completions", { ...request, signal });
    Object.assign(turn, {
      hit: isHit(answer),
      tier: tier(answer),
      phases: phases(answer),
      id: answer.headers.get("X-Request-ID"),
    });
    for await (const { data } of framesOf(answer)) {
      if (data === "[DONE]") continue; // hanging up here would be leaving before the end
      hear(JSON.parse(data), turn, began);
      draw();
    }
    if (!turn.finish) throw new Error("The answer broke off.");
  } catch (error) {
    if (error.name === "AbortError") turn.finish = "stopped";
    else turn.error = error.message;
  }
  turn.running = false;
  turn.took = performance.now() - began;
}

function hear(chunk, turn, began) {
  if (chunk.error) throw new Error(chunk.error.message);
  const [choice] = chunk.choices ?? [];
  const words = choice?.delta?.content ?? "";
  if (words && turn.first === undefined) turn.first = performance.now() - began;
  turn.text += words;
  turn.finish = choice?.finish_reason ?? turn.finish;
  turn.usage = chunk.usage ?? turn.usage;
}

const ENDS = { length: "cut off at the most tokens", stopped: "stopped", content_filter: "filtered" };

function bubble(turn, index) {
  return h(
    `div.turn.${turn.role === "user" ? "user" : "assistant"}`,
    { key: index },
    h("span.visually-hidden", {}, turn.role === "user" ? "You" : "Model"),
    h(`div.turn-text${turn.running ? ".running" : ""}`, {}, turn.text),
    turn.error && h("div.trouble", { role: "alert" }, turn.error),
    turn.role !== "user" && !turn.running && foot(turn),
  );
}

function foot(turn) {
  const tokens = turn.usage?.completion_tokens;
  const speed =
    !turn.hit && tokens > 1 && turn.took > turn.first ? ((tokens - 1) * 1000) / (turn.took - turn.first) : null;
  return h(
    "div.turn-foot",
    {},
    turn.model && h("span.break", {}, turn.model),
    turn.tier,
    ENDS[turn.finish] && badge(ENDS[turn.finish], "warn"),
    turn.usage && h("span", {}, `${count(turn.usage.prompt_tokens)} + ${count(tokens)} tokens`),
    turn.first !== undefined && h("span", {}, `first after ${milliseconds(turn.first)}`),
    turn.took !== undefined && h("span", {}, `all after ${milliseconds(turn.took)}`),
    speed && h("span", {}, `${rate(speed)} tokens/s`),
    turn.phases?.length > 0 &&
      told(turn.phases) &&
      h("span", { title: "As the service measured it" }, told(turn.phases)),
    turn.id && h("a", { href: `#/cache?request=${encodeURIComponent(turn.id)}` }, "why?"),
  );
}
