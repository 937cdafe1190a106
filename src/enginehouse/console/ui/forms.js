/** Fields with their labels, and dialogs that ask before something is done. */

import { h, render } from "./dom.js";
import { button } from "./page.js";

let number = 0;

/** A control with its label, and a hint below it. */
export function field(label, control, hint) {
  const id = control.id || `f${++number}`;
  control.id = id;
  if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
  return h(
    "div.field",
    {},
    h("label", { for: id }, label),
    control,
    hint && h("p.hint", { id: `${id}-hint` }, hint),
  );
}

export const input = (props = {}) => h("input.input", { type: "text", autocomplete: "off", ...props });
export const area = (props = {}) => h("textarea.input", { rows: 3, ...props });

/** A choice.
 *  @param {[string, string][]} options value and text */
export const choice = (options, chosen, props = {}) =>
  h(
    "select.input",
    props,
    options.map(([value, text]) => h("option", { value, selected: value === chosen, key: value }, text)),
  );

/** A box to tick. */
export function tick(label, props = {}) {
  const id = props.id ?? `f${++number}`;
  return h("div.tick", {}, h("input", { type: "checkbox", ...props, id }), h("label", { for: id }, label));
}

/** What was typed into a form, by the names of its fields; what is empty is not there. */
export function typed(form) {
  const pairs = [...new FormData(form)].map(([name, value]) => [name, String(value).trim()]);
  return Object.fromEntries(pairs.filter(([, value]) => value !== ""));
}

/** A form before the page.
 *  @param {{title: string, action: string, danger?: boolean}} what
 *  @param {any[]} body fields
 *  @param {function(HTMLFormElement): Promise<any>} done what to do; what it throws is told in the dialog, and what it
 *      returns is what this resolves to
 *  @returns {Promise<any>} null when it was closed */
export function dialog({ title, action, danger = false, close = "Cancel" }, body, done) {
  return new Promise((resolve) => {
    let outcome = null;
    const trouble = h("p.dialog-trouble", { role: "alert" });
    const submit = async (event) => {
      event.preventDefault();
      render(trouble);
      go.disabled = true;
      try {
        outcome = (await done(form)) ?? true;
        box.close();
      } catch (error) {
        render(trouble, error.message);
        go.disabled = false;
      }
    };
    const go = h(`button.button${danger ? ".danger" : ".primary"}`, { type: "submit" }, action);
    const cancel = button(close, () => box.close());
    const form = h(
      "form",
      { onsubmit: submit },
      h("h2", { id: "dialog-title" }, title),
      body,
      trouble,
      h("div.actions.end", {}, cancel, action && go),
    );
    const box = h(
      "dialog",
      { "aria-labelledby": "dialog-title", onclose: () => (box.remove(), resolve(outcome)) },
      form,
    );
    document.body.append(box);
    box.showModal();
  });
}

/** Whether somebody really wants it. */
export const sure = (title, text, action, done) =>
  dialog({ title, action, danger: true }, [h("p", {}, text)], done);

/** Say for some seconds, to eyes and screen readers, what has happened. */
export function say(text, tone = "good") {
  const note = h(`div.toast.${tone}`, {}, text);
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), tone === "bad" ? 10_000 : 4000);
}

/** Try something that a button was pressed for: the button waits, and what went wrong is said. */
export async function attempt(event, work) {
  const pressed = event?.currentTarget;
  if (pressed) pressed.disabled = true;
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, "bad");
    return null;
  } finally {
    if (pressed) pressed.disabled = false;
  }
}
