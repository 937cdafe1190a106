/** Elements made of names, attributes and children, and a page that becomes another one where they differ.
 *  Whatever is a string becomes a text node: nothing that a model or a caller wrote is ever read as markup. */

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "path", "rect", "circle", "line", "g", "polyline", "polygon", "title"]);

/** An element.
 *  @param {string} name the tag, with classes: "div.card.wide"
 *  @param {object} props attributes; `onclick` and the like are listeners, `vars` are CSS custom properties,
 *      `key` tells siblings apart over renderings, `keep` makes a node that its owner holds and draws itself
 *  @param {...any} children nodes, texts, numbers, lists of them; null and false are nothing */
export function h(name, props, ...children) {
  const [tag, ...classes] = name.split(".");
  const node = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  const given = classes
    .concat(props?.class ?? [])
    .filter(Boolean)
    .join(" ");
  if (given) node.setAttribute("class", given);
  for (const [key, value] of Object.entries(props ?? {})) set(node, key, value);
  node.append(...flat(children));
  return node;
}

/** Let an element have these children; what is the same stays, with its focus, its scroll and what was typed. */
export function render(parent, ...children) {
  become(parent, flat(children));
}

function set(node, key, value) {
  if (value === null || value === undefined || value === false || key === "class") return;
  if (key === "key") node.$key = String(value);
  else if (key === "keep") node.$keep = true;
  else if (key === "vars") for (const [name, to] of Object.entries(value)) node.style.setProperty(`--${name}`, to);
  else if (key === "value") node.value = value;
  else if (key.startsWith("on")) listen(node, key.slice(2), value);
  else node.setAttribute(key, value === true ? "" : value);
}

function listen(node, type, hears) {
  node.$hears ??= {};
  if (!(type in node.$hears)) node.addEventListener(type, dispatch);
  node.$hears[type] = hears;
}

function dispatch(event) {
  return event.currentTarget.$hears[event.type]?.(event);
}

function flat(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "")
    .map((child) => (child instanceof Node ? inPlace(child) : document.createTextNode(String(child))));
}

/** A kept node that is on the page stays there, focus and all; a mark stands for it in what is drawn next. */
function inPlace(node) {
  if (!node.$keep || !node.isConnected) return node;
  return Object.assign(document.createComment(""), { $stands: node });
}

/** A drawn node with what its marks stand for. */
function settled(node) {
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_COMMENT);
  const marks = [];
  while (walker.nextNode()) marks.push(walker.currentNode);
  for (const mark of marks) mark.replaceWith(mark.$stands);
  return node;
}

function become(parent, wanted) {
  const keyed = new Map([...parent.childNodes].filter((node) => node.$key).map((node) => [node.$key, node]));
  let here = parent.firstChild;
  for (const drawn of wanted) {
    const node = drawn.$stands ?? drawn;
    const found = node.$keep
      ? node
      : node.$key
        ? keyed.get(node.$key)
        : here && !here.$key && !here.$keep
          ? here
          : null;
    if (!found || found.parentNode !== parent || !alike(found, node)) {
      parent.insertBefore(settled(node), here);
      continue;
    }
    if (found === here) here = here.nextSibling;
    else parent.insertBefore(found, here);
    if (found !== node) update(found, node);
  }
  while (here) {
    const next = here.nextSibling;
    here.remove();
    here = next;
  }
}

const alike = (one, other) => one.nodeName === other.nodeName && one.$key === other.$key;

function update(node, wanted) {
  if (node.nodeType === Node.TEXT_NODE) {
    if (node.data !== wanted.data) node.data = wanted.data;
    return;
  }
  for (const { name } of [...node.attributes]) {
    if (!wanted.hasAttribute(name) && !(name === "open" || name === "style")) node.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (name !== "style" && name !== "open" && node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  if (node.style && node.style.cssText !== wanted.style.cssText) node.style.cssText = wanted.style.cssText;
  for (const type of Object.keys(node.$hears ?? {})) node.$hears[type] = wanted.$hears?.[type];
  for (const [type, hears] of Object.entries(wanted.$hears ?? {})) listen(node, type, hears);
  become(node, [...wanted.childNodes]);
}
