// The grammar explorer: a string's tree, in which a click swaps a synonym.

import { Random } from "./random.mjs";
import {
  changedNodes, childrenOf, contexts, cousinsOf, drawString, isBelow, randomGrammar, ruleOf, swapSynonym, tupleBelow,
  wrongShape,
} from "./rhm.mjs";
import { button, count, html, layout, liveRegion, onWidth, ordinal, svg, widgetRoot } from "./page.mjs";

const MOST_TOKENS = 32;
const TUPLE = (symbols) => `(${symbols.join(" ")})`;

/** What the controls offer, given what is chosen: a shape stays possible. */
function offers({ v, m, s, L }) {
  const upTo = (from, most) => Array.from({ length: Math.max(0, most - from + 1) }, (_, i) => from + i);
  const deepest = Math.floor(Math.log(MOST_TOKENS) / Math.log(s) + 1e-9);
  const sorted = (values, own) => [...new Set([...values, own])].sort((a, b) => a - b);
  return {
    v: sorted([2, 3, 4, 6, 8, 10, 12, 16], v),
    m: sorted(upTo(1, Math.min(8, v ** (s - 1))), m),
    s: sorted([2, 3], s),
    L: sorted(upTo(2, deepest), L),
  };
}

/** The nearest possible shape to one that is asked for. */
function possible({ v, m, s, L }) {
  const depth = Math.min(L, Math.floor(Math.log(MOST_TOKENS) / Math.log(s) + 1e-9));
  return { v, s, m: Math.min(m, v ** (s - 1)), L: Math.max(1, depth) };
}

class Explorer {
  constructor(model, el, signal) {
    this.model = model;
    this.grammar = { ...Object.fromEntries(["v", "m", "s", "L"].map((k) => [k, model.get(k)])), rules: model.get("rules") };
    this.resting = { grammar: this.grammar, seed: model.get("seed"), levels: model.get("levels"),
      before: model.get("before"), node: model.get("node") };
    this.random = new Random(0);
    this.picture = html("div", { class: "rhm-picture", "data-rhm-picture": true });
    this.controls = html("div", { class: "rhm-controls" });
    this.said = liveRegion();
    this.panel = html("div", { class: "rhm-panel" });
    const help = "Click a symbol to swap a synonym below it, or go to it with the arrow keys and press Enter.";
    widgetRoot(el, "grammar-explorer", "Grammar explorer", this.controls, html("p", { class: "rhm-note" }, help), this.picture,
      this.legend(), this.said, this.panel);
    this.rest();
    onWidth(this.picture, (width) => { this.width = width; this.draw(); }, signal);
  }

  // -------------------------------------------------------------- what happens

  rest() {
    Object.assign(this, this.resting);
    this.fillControls();
    this.show(this.before ? this.wordsOfSwap() : this.wordsOfString());
  }

  show(words) {
    this.said.textContent = words;
    this.draw();
    this.fillPanel();
    this.tell();
  }

  /** Where there is a kernel, it hears of the grammar and the string. */
  tell() {
    const { v, m, s, L, rules } = this.grammar;
    const state = { v, m, s, L, rules, seed: this.seed, levels: this.levels, before: this.before, node: this.node };
    for (const [name, value] of Object.entries(state)) this.model.set(name, value);
    this.model.save_changes();
  }

  newString() {
    this.before = null;
    this.levels = drawString(this.grammar, this.random);
    this.show(this.wordsOfString());
  }

  newGrammar(shape, seed) {
    const wrong = wrongShape({ ...shape, mostTokens: Infinity });
    try {
      if (wrong) throw new RangeError(wrong);
      this.grammar = randomGrammar({ ...shape, seed });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.said.textContent = error.message;
      return;
    }
    this.seed = seed;
    this.random = new Random(seed);
    this.before = null;
    this.levels = drawString(this.grammar, this.random);
    const level = Math.min(2, this.grammar.L - 1);
    this.node = [level, Math.floor((this.levels[level].length - 1) / 2)];
    this.fillControls();
    this.show(`A new grammar. ${this.wordsOfString()}`);
  }

  /** A click: on a symbol with rules it swaps, on a token it only looks. */
  press(node, rule = null) {
    this.node = node;
    const [level, index] = node;
    if (level === 0) {
      this.show("A token has no rule. Its tuple and its cousins are marked.");
    } else if (this.grammar.m === 1) {
      this.show("With m = 1 every symbol has one rule: there are no synonyms.");
    } else {
      this.before = this.levels;
      this.levels = swapSynonym(this.grammar, this.levels, level, index, this.random, rule);
      this.show(this.wordsOfSwap());
    }
  }

  move(node) {
    this.node = node;
    this.draw();
    this.fillPanel();
  }

  key(event) {
    const [level, index] = this.node;
    const { s, L } = this.grammar;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.press(this.node);
      return;
    }
    const keys = this.upright
      ? { ArrowUp: "up", ArrowDown: "down", ArrowLeft: "back", ArrowRight: "on" }
      : { ArrowLeft: "up", ArrowRight: "down", ArrowUp: "back", ArrowDown: "on" };
    const to = { up: [level + 1, Math.floor(index / s)], down: [level - 1, index * s], back: [level, index - 1],
      on: [level, index + 1] }[keys[event.key]];
    if (!to) return;
    event.preventDefault();
    if (to[0] >= 0 && to[0] <= L && to[1] >= 0 && to[1] < this.levels[to[0]].length) this.move(to);
  }

  // -------------------------------------------------------------- words

  /** The node whose rule writes the tuple that is marked. */
  get parent() {
    const [level, index] = this.node;
    return level > 0 ? this.node : [1, Math.floor(index / this.grammar.s)];
  }

  nameOf([level, index]) {
    const { L } = this.grammar;
    if (level === L) return "the root";
    const many = this.levels[level].length;
    return level === 0 ? `token ${index + 1} of ${many}` : `the ${ordinal(index + 1)} of ${many} symbols of level ${level}`;
  }

  wordsOfString() {
    return `The string is ${this.levels[0].join(" ")}; its root is ${this.levels.at(-1)[0]}.`;
  }

  wordsOfSwap() {
    const [level, index] = this.parent;
    const changed = changedNodes(this.before, this.levels);
    const tokens = changed.filter(([at]) => at === 0).length;
    const latents = changed.length - tokens;
    const below = level > 1 ? `${count(latents, "latent")} and ` : "";
    return (
      `Swapped a synonym: ${this.nameOf([level, index])}, still ${this.levels[level][index]}, wrote ` +
      `${TUPLE(childrenOf(this.grammar, this.before, level, index))} and now writes ` +
      `${TUPLE(childrenOf(this.grammar, this.levels, level, index))}. ` +
      `Below it ${below}${count(tokens, "token")} changed; everything else is as it was.`
    );
  }

  // -------------------------------------------------------------- the picture

  draw() {
    if (!this.width) return;
    const focused = this.picture.contains(document.activeElement);
    const { s, L } = this.grammar;
    const place = layout({ s, L, width: this.width });
    this.upright = place.upright;
    const marks = this.marks();
    const drawing = svg("svg", { width: place.width, height: place.height, role: "group",
      "aria-label": `Derivation tree of the string ${this.levels[0].join(" ")}. Arrow keys move, Enter swaps a synonym.` });
    drawing.append(...this.labels(place), ...this.edges(place, marks), ...this.nodes(place, marks));
    drawing.addEventListener("keydown", (event) => this.key(event));
    this.picture.replaceChildren(drawing);
    if (focused) drawing.querySelector("[tabindex='0']").focus({ preventScroll: true });
  }

  /** Sets of "level,index": the tuple, its cousins, the target among them, and what has changed. */
  marks() {
    const [level, index] = this.parent;
    const names = (indices) => new Set(indices.map((i) => `${level - 1},${i}`));
    const cousins = cousinsOf(this.grammar, level, index);
    return {
      tuple: names(tupleBelow(this.grammar, index)),
      cousins: names(cousins),
      target: names(cousins.slice(0, 1)),
      changed: new Set(this.before ? changedNodes(this.before, this.levels).map(String) : []),
    };
  }

  labels({ upright, at }) {
    const { L } = this.grammar;
    return this.levels.map((_, level) => {
      const what = level === L ? "root" : "tokens";
      const [x, y] = at(level, 0);
      const name = level === L || level === 0 ? what : upright ? `level ${level}` : `${level}`;
      return upright
        ? svg("text", { class: "rhm-label", x: 0, y: y + 4 }, name)
        : svg("text", { class: "rhm-label", x, y: 14, "text-anchor": "middle" }, name);
    });
  }

  edges({ at }, marks) {
    const { s, L } = this.grammar;
    const [level, index] = this.parent;
    const line = (low, i) => {
      const kind = marks.tuple.has(`${low},${i}`) ? "rhm-of-tuple" : marks.cousins.has(`${low},${i}`) ? "rhm-of-cousin"
        : low === level && level < L && Math.floor(i / s) === Math.floor(index / s) ? "rhm-of-way" : "";
      const [[x1, y1], [x2, y2]] = [at(low, i), at(low + 1, Math.floor(i / s))];
      return svg("line", { class: `rhm-edge ${kind}`, x1, y1, x2, y2 });
    };
    return this.levels.slice(0, L).flatMap((row, low) => row.map((_, i) => line(low, i)));
  }

  nodes(place, marks) {
    const rows = this.levels.map((row, level) => row.map((_, index) => this.nodeAt(place, marks, level, index)));
    return rows.reverse().flat(2);
  }

  nodeAt(place, marks, level, index) {
    const { at, radius, ring } = place;
    const name = `${level},${index}`;
    const [x, y] = at(level, index);
    const symbol = this.levels[level][index];
    const changed = marks.changed.has(name);
    const own = String(this.parent) === name;
    const here = String(this.node) === name;
    const kinds = [["rhm-changed", changed], ["rhm-chosen", own], ["rhm-tuple", marks.tuple.has(name)],
      ["rhm-cousin", marks.cousins.has(name)]];
    const shape = (kind, r) => changed
      ? svg("rect", { class: kind, x: x - 0.9 * r, y: y - 0.9 * r, width: 1.8 * r, height: 1.8 * r, rx: 3 })
      : svg("circle", { class: kind, cx: x, cy: y, r });
    const beside = (kind, [dx, dy], text) => svg("text", { class: kind, x: x + dx, y: y + dy, "text-anchor": "middle" }, text);
    const spots = this.spots(place, level, index);
    const words = [this.nameOf([level, index]), `symbol ${symbol}`];
    if (changed) words.push(`was ${this.before[level][index]}`);
    for (const [kind, text] of [["tuple", "in the tuple"], ["cousins", "cousin"], ["target", "Z"]]) {
      if (marks[kind].has(name)) words.push(text);
    }
    const node = svg("g", {
        class: ["rhm-node", ...kinds.filter(([, yes]) => yes).map(([kind]) => kind)].join(" "),
        role: "button", tabindex: here ? 0 : -1, "aria-current": here ? "true" : null,
        "aria-label": words.join(", "),
        onclick: () => this.press([level, index]),
      },
      svg("circle", { class: "rhm-focus", cx: x, cy: y, r: ring + 2.5 }),
      marks.tuple.has(name) || marks.cousins.has(name) ? shape("rhm-ring", ring) : null,
      shape("rhm-shape", radius),
      svg("text", { class: "rhm-symbol", x, y: y + 4.5, "text-anchor": "middle" }, String(symbol)),
    );
    const notes = [];
    if (marks.target.has(name)) notes.push(beside("rhm-z", spots.target, "Z"));
    if (changed) notes.push(beside("rhm-old", spots.old, String(this.before[level][index])));
    return [node, ...notes];
  }

  /** Where, seen from a node, its old symbol and the mark Z are written: away from its edges. */
  spots({ upright, radius: r }, level, index) {
    const { s } = this.grammar;
    const side = index % s < s / 2 ? -1 : 1;
    if (upright) return { target: [-r - 6, -r - 1], old: level === 0 ? [0, r + 17] : [side * (r + 9), -r + 3] };
    if (level === 0) return { target: [r + 28, 5], old: [r + 13, 4] };
    return { target: [-r - 6, -r - 1], old: [-r - 10, side * (r + 4) + 4] };
  }

  legend() {
    const sample = (kind, shape) => svg("svg", { width: 22, height: 22, "aria-hidden": "true" },
      svg("g", { class: `rhm-node ${kind}` }, shape));
    const circle = (kind, r) => svg("circle", { class: kind, cx: 11, cy: 11, r });
    const square = svg("rect", { class: "rhm-shape", x: 4, y: 4, width: 14, height: 14, rx: 3 });
    const entry = (drawing, text) => html("span", {}, drawing, text);
    return html("div", { class: "rhm-legend" },
      entry(sample("rhm-changed", square), "changed by the swap"),
      entry(sample("rhm-chosen", circle("rhm-shape", 8)), "chosen symbol"),
      entry(sample("rhm-tuple", circle("rhm-ring", 9)), "its tuple"),
      entry(sample("rhm-cousin", circle("rhm-ring", 9)), "the cousins"));
  }

  // -------------------------------------------------------------- beside the picture

  fillControls() {
    const shape = Object.fromEntries(["v", "m", "s", "L"].map((k) => [k, this.grammar[k]]));
    const meaning = { v: "symbols", m: "rules a symbol", s: "children", L: "depth" };
    const lists = Object.entries(offers(shape)).map(([name, values]) => {
      const select = html("select", { "aria-label": `${name}, ${meaning[name]}`, "data-name": name,
        onchange: () => this.newGrammar(possible({ ...shape, [name]: Number(select.value) }), this.seed) });
      select.append(...values.map((value) => html("option", { value, selected: value === shape[name] }, String(value))));
      return html("label", { class: "rhm-field" }, html("span", {}, html("i", {}, name), ` ${meaning[name]}`), select);
    });
    const seed = html("input", { type: "number", min: 0, max: 4294967295, step: 1, value: this.seed, "data-name": "seed",
      "aria-label": "grammar seed", onchange: () => this.newGrammar(shape, Number(seed.value)) });
    const focused = this.controls.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    this.controls.replaceChildren(...lists,
      html("label", { class: "rhm-field" }, html("span", {}, "grammar seed"), seed),
      html("div", { class: "rhm-actions" },
        button("New string", () => this.newString(), { "data-rhm-control": true, "data-name": "string" }),
        button("New grammar", () => this.newGrammar(shape, this.seed + 1), { "data-name": "grammar" }),
        button("Reset", () => this.rest(), { "data-name": "reset" })));
    if (focused) this.controls.querySelector(`[data-name='${focused}']`)?.focus();
  }

  fillPanel() {
    const focused = this.panel.contains(document.activeElement) ? document.activeElement.dataset.rule : null;
    this.panel.replaceChildren(this.rulesOfNode(), this.contextOfTuple());
    if (focused) this.panel.querySelector(`[data-rule='${focused}']`)?.focus();
  }

  rulesOfNode() {
    const [level, index] = this.parent;
    const symbol = this.levels[level][index];
    const used = ruleOf(this.grammar, this.levels, level, index);
    const rules = this.grammar.rules[level - 1][symbol].map((rule, k) =>
      button(TUPLE(rule), () => k !== used && this.press([level, index], k),
        { "aria-pressed": String(k === used), "data-rule": k, "aria-label": `rule ${k + 1}: ${rule.join(" ")}` }));
    return html("div", {},
      html("p", { class: "rhm-title" }, `Synonyms of ${this.nameOf([level, index])}`),
      html("div", { class: "rhm-rules", role: "group", "aria-label": `Rules of symbol ${symbol}` },
        html("span", {}, `${symbol} →`), ...rules),
      html("p", { class: "rhm-note" }, "All of them have this one symbol as their parent; the pressed one is in the string."));
  }

  contextOfTuple() {
    const [level, index] = this.parent;
    const { s, L, v } = this.grammar;
    if (level >= L) {
      return html("p", { class: "rhm-note" }, "The tuple below the root has no cousins: only the label tells about it.");
    }
    const cousin = index % s === 0 ? 1 : 0;
    const law = contexts(this.grammar, level, index, cousin, 0);
    const symbol = this.levels[level][index];
    const own = law.contexts[symbol][ruleOf(this.grammar, this.levels, level, index)];
    const tuple = TUPLE(childrenOf(this.grammar, this.levels, level, index));
    const old = this.before ? TUPLE(childrenOf(this.grammar, this.before, level, index)) : tuple;
    const swapped = this.before && this.before[level][index] === symbol && old !== tuple;
    return html("div", {},
      html("p", { class: "rhm-title" }, `Context of the tuple ${tuple}: how likely each symbol is at Z`),
      this.bars(own, law.mean, v),
      html("p", { class: "rhm-note" }, swapped
        ? `${old} had exactly the same context: the two are synonyms. Dashes: the mean over all tuples.`
        : "All its synonyms have this same context. Dashes: the mean over all tuples."));
  }

  bars(own, mean, v) {
    const [width, height] = [Math.max(200, 24 * v), 96];
    const most = Math.max(...own, ...mean);
    const step = width / v;
    const y = (p) => height * (1 - p / most);
    const text = own.map((p, z) => `${z}: ${p.toFixed(2)}`).join(", ");
    const drawing = svg("svg", { class: "rhm-bars", viewBox: `0 0 ${width} ${height + 20}`, role: "img",
      style: `max-width: ${width * 1.3}px`, "aria-label": `Probability of each symbol at Z, given the tuple. ${text}.` });
    own.forEach((p, z) => {
      const x = z * step;
      drawing.append(
        svg("rect", { class: "rhm-bar", x: x + step * 0.15, y: y(p), width: step * 0.7, height: height - y(p) }),
        svg("line", { class: "rhm-mean", x1: x + step * 0.04, x2: x + step * 0.96, y1: y(mean[z]), y2: y(mean[z]) }),
        svg("text", { class: "rhm-label", x: x + step / 2, y: height + 15, "text-anchor": "middle" }, String(z)));
    });
    drawing.append(svg("line", { class: "rhm-axis", x1: 0, x2: width, y1: height, y2: height }));
    return drawing;
  }
}

export default {
  render({ model, el, signal }) {
    new Explorer(model, el, signal);
  },
};
