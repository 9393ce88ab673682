// What the widgets of the book share: elements, controls, the place of nodes, and words for screen readers.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

/** An HTML element; an attribute onX is a listener, null and false leave an attribute out. */
export function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * The root of a widget, appended to `el`. The names of the data attributes are a contract with the tests of the pages,
 * see rhmlib/widgets.py.
 */
export function widgetRoot(el, name, title, ...children) {
  const root = html("section", { class: "rhm-widget", "data-rhm-widget": name, "aria-label": title }, ...children);
  el.append(root);
  return root;
}

/** A labelled list of choices. `options` are [value, text]; `onchange` gets the chosen value as a string. */
export function choice(label, options, value, onchange, attributes = {}) {
  const select = html("select", { ...attributes, onchange: () => onchange(select.value) });
  select.append(...options.map(([key, text]) => html("option", { value: key }, text)));
  select.value = String(value);
  return html("label", { class: "rhm-field" }, html("span", {}, label), select);
}

/** One of a few buttons is down. `options` are [value, text]. */
export function buttons(label, options, value, onchange, attributes = {}) {
  const press = ([key, text]) =>
    html("button", { type: "button", "aria-pressed": String(key === value), onclick: () => onchange(key) }, text);
  return html("div", { class: "rhm-buttons", role: "group", "aria-label": label, ...attributes }, options.map(press));
}

export function button(text, onclick, attributes = {}) {
  return html("button", { type: "button", onclick, ...attributes }, text);
}

/** Words on the page that a screen reader reads out when they change. */
export function liveRegion() {
  return html("p", { class: "rhm-said", role: "status", "aria-live": "polite" });
}

/** Call `draw(width)` now and whenever the width of a node changes; until `signal` says that the view is gone. */
export function onWidth(node, draw, signal) {
  let width = 0;
  const look = () => {
    const now = Math.floor(node.clientWidth);
    if (now > 0 && now !== width) draw((width = now));
  };
  // In the next frame: a drawing changes sizes, which an observer must not do while it is being told of some.
  const watch = new ResizeObserver(() => requestAnimationFrame(look));
  watch.observe(node);
  signal?.addEventListener("abort", () => watch.disconnect());
}

/** "1 leaf", "2 leaves". */
export function count(n, one, many = `${one}s`) {
  return `${n} ${n === 1 ? one : many}`;
}

export function ordinal(n) {
  const ending = n % 100 >= 11 && n % 100 <= 13 ? "th" : ["th", "st", "nd", "rd"][n % 10] ?? "th";
  return `${n}${ending}`;
}

/**
 * Where the nodes of a tree are: `at(level, index)` gives [x, y]; `radius` and `ring` are those of a node. Upright (the root on top) where the leaves have room,
 * lying (the root at the left, a leaf a line) where they have not.
 */
export function layout({ s, L, width, least = 26, row = 64, label = 62 }) {
  const leaves = s ** L;
  const upright = (width - label) / leaves >= least;
  const middle = (level, index) => (index + 0.5) * s ** level;
  if (upright) {
    const step = Math.min((width - label) / leaves, 64);
    const left = label + (width - label - step * leaves) / 2;
    const at = (level, index) => [left + step * middle(level, index), 22 + row * (L - level)];
    const radius = Math.min(15, step * 0.42);
    return { upright, at, radius, ring: Math.min(radius + 3.5, step * 0.49), width, height: row * L + 58 };
  }
  const column = (width - 64) / L;
  const at = (level, index) => [22 + column * (L - level), 40 + least * middle(level, index)];
  return { upright, at, radius: least * 0.4, ring: least * 0.49, width, height: least * leaves + 52 };
}
