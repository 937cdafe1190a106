/** The console: signs in, shows the frame, and opens the page that the address names. */

import { ApiError, call, door, keep, key } from "./api.js";
import { hangUp, link, listen } from "./events.js";
import { h, render } from "./ui/dom.js";
import { field, input, say } from "./ui/forms.js";
import { icon } from "./ui/icons.js";
import { head, iconButton, loading, trouble } from "./ui/page.js";

/** Name → title, icon, whether it is for admins, and the group it stands in. */
const PAGES = {
  overview: { title: "Overview", group: "Watch" },
  models: { title: "Models", group: "Watch" },
  queue: { title: "Queue", group: "Watch" },
  requests: { title: "Requests", group: "Watch" },
  playground: { title: "Playground", group: "Try" },
  sessions: { title: "Sessions", group: "Try" },
  usage: { title: "Usage & cost", group: "Manage" },
  keys: { title: "Keys & limits", group: "Manage", admin: true },
  cache: { title: "Cache", group: "Manage" },
  settings: { title: "Settings", group: "Manage", admin: true },
};
const FIRST = "overview";

const root = document.getElementById("app");
const main = h("main", { id: "main" });
const nav = h("nav", { id: "nav", "aria-label": "Pages" });
const tools = h("div.side-tools");
let me = null;
let leave = new AbortController();

/** Begin: with no key, or with the one of this tab. */
async function start() {
  try {
    me = await call("v1/me");
  } catch (error) {
    if (error.status === 401) return signIn(key() ? "The key does not count any more." : "");
    return root.replaceChildren(h("div.centre", {}, trouble(error, start)));
  }
  frame();
  listen();
  return show();
}

function signIn(message) {
  leave.abort();
  hangUp();
  me = null;
  main.replaceChildren();
  const told = h("p.dialog-trouble", { role: "alert" }, message);
  const box = input({ type: "password", name: "key", autocomplete: "off", spellcheck: "false", required: true });
  const submit = async (event) => {
    event.preventDefault();
    const text = box.value.trim();
    try {
      await call("v1/me", { as: text });
    } catch (error) {
      return render(
        told,
        error.status === 401 ? "No such key. Look at it again, or ask who runs this service." : error.message,
      );
    }
    keep(text);
    return start();
  };
  const form = h(
    "form.card.sign-in",
    { onsubmit: submit },
    brand(),
    h("h1", {}, "Sign in"),
    field("API key or token", box, "It stays in this tab and is forgotten when the tab is closed."),
    told,
    h("button.button.primary", { type: "submit" }, "Sign in"),
  );
  document.title = "Sign in · Enginehouse";
  root.replaceChildren(h("div.centre", {}, form));
  box.focus();
}

function signOut() {
  keep(null);
  signIn("");
}

const brand = () => h("div.brand", {}, icon("models"), h("span", {}, "Enginehouse"));

/** The frame around every page; what changes in it has a place of its own. */
function frame() {
  const foot = h("div.side-foot", {}, who(), tools);
  const menu = iconButton("menu", "Menu", toggleMenu, {
    class: "menu-button",
    "aria-expanded": "false",
    "aria-controls": "nav",
  });
  const side = h("aside.side", { id: "side" }, h("div.side-head", {}, brand(), menu), nav, foot);
  const toasts = h("div.toasts", { id: "toasts", role: "status", "aria-live": "polite" });
  root.replaceChildren(
    h("a.skip", { href: "#main", onclick: skip }, "Skip to the page"),
    h("div.frame", {}, side, main),
    toasts,
  );
  drawTools();
}

function drawNav() {
  render(nav, ["Watch", "Try", "Manage"].map(group));
}

function drawTools() {
  render(
    tools,
    state(),
    iconButton("theme", "Light or dark", turn),
    key() && iconButton("out", "Sign out", signOut),
  );
}

function group(name) {
  const pages = Object.entries(PAGES).filter(
    ([, page]) => page.group === name && (!page.admin || me.role === "admin"),
  );
  const at = place().name;
  const entry = ([id, page]) =>
    h("a.nav-entry", { href: `#/${id}`, "aria-current": id === at ? "page" : null }, icon(id), page.title);
  return h("div.nav-group", {}, h("div.nav-title", {}, name), pages.map(entry));
}

const who = () =>
  h(
    "div.who",
    {},
    h("div.who-name", { title: me.user }, me.user),
    h("div.muted.small", {}, key() ? `${me.role} · ${me.tier}` : "no key is asked for"),
  );

const STATES = {
  live: ["Live", "good"],
  opening: ["Connecting", ""],
  broken: ["Reconnecting", "warn"],
  off: ["Idle", ""],
};

function state() {
  const [text, tone] = STATES[link.state];
  return h(
    "span.link-state",
    { role: "status", title: `Event stream: ${text.toLowerCase()}` },
    h(`span.dot${tone && `.${tone}`}`, {}),
    text,
  );
}

/** What the address names: `#/models/llama?x=1` → models, "llama", x. */
function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  const known = Object.hasOwn(PAGES, name) && (!PAGES[name].admin || me?.role === "admin");
  const at = known ? name : FIRST;
  return { name: at, rest: known ? decode(rest.join("/")) : "", query: new URLSearchParams(query ?? "") };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

let shown = "";

async function show() {
  if (!me) return;
  leave.abort();
  const mine = (leave = new AbortController());
  const { name, rest, query } = place();
  drawNav();
  closeMenu();
  document.title = `${PAGES[name].title} · Enginehouse`;
  if (shown !== name || !main.firstChild) main.replaceChildren(h("div.page", {}, loading()));
  main.setAttribute("aria-busy", "true");
  shown = name;
  try {
    const { open } = await import(`./pages/${name}.js`);
    if (!mine.signal.aborted) await open(view(main.firstChild, mine, rest, query));
  } catch (error) {
    if (!mine.signal.aborted)
      render(
        main.firstChild,
        head(PAGES[name].title),
        trouble(error instanceof ApiError ? error : new ApiError(0, "", `This page broke: ${error.message}`), show),
      );
    if (!(error instanceof ApiError) && error.name !== "AbortError") console.error(error);
  }
  if (!mine.signal.aborted) {
    main.dataset.at = location.hash;
    main.removeAttribute("aria-busy");
  }
}

/** What a page is given: where to draw, what the address says, and how to go on until it is left. */
function view(body, mine, rest, query) {
  const { signal } = mine;
  return {
    me,
    rest,
    query,
    signal,
    admin: me.role === "admin",
    draw: (...nodes) => signal.aborted || render(body, ...nodes),
    /** Do it now and every so many milliseconds, while the page is open and seen; a failure is shown, and passes. */
    every(pause, work) {
      let failed = false;
      const round = async () => {
        if (signal.aborted) return;
        try {
          if (!document.hidden) await work();
          if (failed) say("The service answers again.");
          failed = false;
        } catch (error) {
          if (signal.aborted || error.name === "AbortError") return;
          if (!failed && error.status !== 401) say(error.message, "bad");
          failed = true;
        }
        if (!signal.aborted) setTimeout(round, pause);
      };
      setTimeout(round, pause);
    },
  };
}

function skip(event) {
  event.preventDefault();
  main.querySelector("h1")?.focus();
}

function toggleMenu() {
  const open = document.getElementById("side").classList.toggle("open");
  document.querySelector(".menu-button").setAttribute("aria-expanded", String(open));
}

function closeMenu() {
  document.getElementById("side")?.classList.remove("open");
}

function turn() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const html = document.documentElement;
  html.dataset.theme = (html.dataset.theme ?? (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
  localStorage.setItem("enginehouse.theme", html.dataset.theme);
}

addEventListener("hashchange", async () => {
  await show();
  if (me) main.querySelector("h1")?.focus({ preventScroll: true });
});
door.addEventListener("unauthorized", () => me && signIn("The key does not count any more."));
door.addEventListener("key", async () => {
  if (!me || !key()) return;
  me = await call("v1/me");
  frame();
  drawNav();
});
link.addEventListener("change", drawTools);
start();
