// Correlation against tree distance: a tuple, its target, the rules between them, and the signal that is left.

import { wayTo, SETTINGS } from "./distances.mjs";
import { buttons, choice, html, layout, liveRegion, onWidth, svg, widgetRoot } from "./page.mjs";

const NAMES = { supervised: "supervised", tokens: "token prediction", latents: "latent prediction" };
const TARGETS = { supervised: "the label, at the root", tokens: "a token below the nearest cousin",
  latents: "a latent of the same level, in the nearest cousin" };
const SHIFT = { supervised: -0.14, tokens: 0, latents: 0.14 };

/** "3.2 × 10⁻⁴", or a plain number where that is as short. */
function short(x) {
  if (x >= 0.01 && x < 1000) return String(Number(x.toPrecision(2)));
  if (x >= 1000 && x < 1e7) return Math.round(Number(x.toPrecision(2))).toLocaleString("en");
  const power = Math.floor(Math.log10(x));
  const digits = [...String(power)].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)])).join("");
  return `${(x / 10 ** power).toFixed(1)} × 10${digits}`;
}

/** Each setting has a shape of its own. */
function marker(setting, x, y, r, kind) {
  const common = { class: `rhm-mark rhm-${setting} ${kind}` };
  if (setting === "supervised") return svg("rect", { ...common, x: x - r, y: y - r, width: 2 * r, height: 2 * r });
  if (setting === "latents") return svg("circle", { ...common, cx: x, cy: y, r: r * 1.1 });
  const h = r * 1.3;
  return svg("path", { ...common, d: `M${x} ${y - h}L${x + h} ${y + h * 0.8}L${x - h} ${y + h * 0.8}Z` });
}

class Distances {
  constructor(model, el, signal) {
    this.table = model.get("table");
    for (const name of ["v", "s", "L", "setting", "level", "m"]) this[name] = model.get(name);
    this.ms = [...new Set(this.table.map((row) => row.m))];
    this.model = model;
    const levels = Array.from({ length: this.L - 1 }, (_, level) => [level, String(level)]);
    this.choices = buttons("Objective", SETTINGS.map((key) => [key, NAMES[key]]), this.setting, (key) => this.set("setting", key));
    this.tree = html("div", { class: "rhm-half" });
    this.chart = html("div", { class: "rhm-half" });
    this.said = liveRegion();
    widgetRoot(el, "tree-distance", "Correlation against tree distance",
      this.choices, html("div", { class: "rhm-controls" },
        choice("level ℓ of the tuple", levels, this.level, (value) => this.set("level", Number(value)), { "data-rhm-control": true }),
        choice("rules a symbol, m", this.ms.map((m) => [m, String(m)]), this.m, (value) => this.set("m", Number(value)))),
      html("div", { class: "rhm-picture rhm-halves", "data-rhm-picture": true }, this.tree, this.chart), this.legend(), this.said);
    onWidth(this.tree, () => this.draw(), signal);
    onWidth(this.chart, () => this.draw(), signal);
    this.draw();
  }

  legend() {
    const shown = (setting) => html("span", {},
      svg("svg", { width: 18, height: 18, "aria-hidden": "true" }, marker(setting, 9, 9, 5, "rhm-full")), NAMES[setting]);
    return html("div", { class: "rhm-legend" }, SETTINGS.map(shown), html("span", {}, "hollow: other levels"));
  }

  set(name, value) {
    this[name] = value;
    this.model.set(name, value);
    this.model.save_changes();
    for (const [i, key] of SETTINGS.entries()) this.choices.children[i].setAttribute("aria-pressed", String(key === this.setting));
    this.draw();
  }

  row(setting, level) {
    return this.table.find((row) => row.m === this.m && row.setting === setting && row.level === level);
  }

  draw() {
    this.said.textContent = this.words();
    if (this.tree.clientWidth) this.tree.replaceChildren(this.drawTree(Math.floor(this.tree.clientWidth)));
    if (this.chart.clientWidth) this.chart.replaceChildren(this.drawChart(Math.floor(this.chart.clientWidth)));
  }

  words() {
    const row = this.row(this.setting, this.level);
    return (
      `Tuple of level ${this.level}, target: ${TARGETS[this.setting]}. ` +
      `The way crosses ${row.rules === 1 ? "1 rule" : `${row.rules} rules`}, and the signal is S = ${short(row.signal)}; ` +
      `the closed form says ${short(row.scale)}. ` +
      `To see it takes about v m / S = ${short((this.v * this.m) / row.signal)} strings.`
    );
  }

  // -------------------------------------------------------------- the tree

  drawTree(width) {
    const { s, L, setting } = this;
    const { tuple, way, target, rules } = wayTo(setting, this.level, s, L);
    const { at, height } = layout({ s, L, width, least: 0, row: 46, label: 50 });
    const of = (nodes) => new Set(nodes.map(String));
    const [inWay, inTuple, inRules] = [of(way), of(tuple), of(rules)];
    const drawing = svg("svg", { width, height: height - 20, role: "img",
      "aria-label": `A tree of depth ${L}. Tuple at level ${this.level}, target ${TARGETS[setting]}, ${rules.length} rules on the way.` });
    for (let level = L; level >= 0; level--) {
      const many = s ** (L - level);
      const name = level === L ? "root" : level === 0 ? "tokens" : `level ${level}`;
      drawing.append(svg("text", { class: "rhm-label", x: 0, y: at(level, 0)[1] + 4 }, name));
      for (let i = 0; level < L && i < many; i++) {
        const up = [level + 1, Math.floor(i / s)];
        const onWay = inWay.has(`${level},${i}`) && inWay.has(String(up));
        const ofTuple = inTuple.has(`${level},${i}`);
        const [[x1, y1], [x2, y2]] = [at(level, i), at(...up)];
        drawing.append(svg("line", { class: `rhm-edge ${onWay || ofTuple ? `rhm-way rhm-${setting}` : ""}`, x1, y1, x2, y2 }));
      }
    }
    for (let level = L; level >= 0; level--) {
      for (let i = 0; i < s ** (L - level); i++) drawing.append(...this.node([level, i], at(level, i), { inTuple, inRules, target, rules }));
    }
    return drawing;
  }

  node(node, [x, y], { inTuple, inRules, target, rules }) {
    const name = String(node);
    const { setting } = this;
    if (name === String(target)) {
      const ring = svg("circle", { class: `rhm-goal rhm-${setting}`, cx: x, cy: y, r: 8.5 });
      return inRules.has(name) ? [ring, this.number(rules, name, x, y)] : [ring];
    }
    if (inTuple.has(name)) return [svg("circle", { class: `rhm-mark rhm-full rhm-${setting}`, cx: x, cy: y, r: 6.5 })];
    if (inRules.has(name)) return [svg("circle", { class: "rhm-rule", cx: x, cy: y, r: 8 }), this.number(rules, name, x, y)];
    return [svg("circle", { class: "rhm-dot", cx: x, cy: y, r: 2.8 })];
  }

  number(rules, name, x, y) {
    const at = rules.findIndex((rule) => String(rule) === name) + 1;
    return svg("text", { class: "rhm-count", x, y: y + 4, "text-anchor": "middle" }, String(at));
  }

  // -------------------------------------------------------------- the chart

  drawChart(width) {
    const rows = this.table.filter((row) => row.m === this.m);
    const [left, right, top, height, bottom] = [44, 12, 12, 278, 42];
    const furthest = Math.max(...rows.map((row) => row.rules)) + 0.4;
    const lowest = Math.floor(Math.log10(Math.min(...rows.map((row) => row.low))));
    const x = (r) => left + ((width - left - right) * (r - 0.5)) / (furthest - 0.5);
    const y = (signal) => top + ((height - top - bottom) * Math.log10(signal)) / lowest;
    const drawing = svg("svg", { width, height, role: "img",
      "aria-label": `Signal against the number of rules on the way, m = ${this.m}. ${this.words()}` });
    for (let power = 0; power >= lowest; power--) {
      drawing.append(svg("line", { class: "rhm-grid", x1: left, x2: width - right, y1: y(10 ** power), y2: y(10 ** power) }),
        svg("text", { class: "rhm-label", x: left - 6, y: y(10 ** power) + 4, "text-anchor": "end" }, power ? "10" : "1",
          power ? svg("tspan", { dy: -5, "font-size": "9" }, `−${-power}`) : null));
    }
    for (let r = 1; r < furthest; r++) {
      drawing.append(svg("text", { class: "rhm-label", x: x(r), y: height - bottom + 16, "text-anchor": "middle" }, String(r)));
    }
    const end = Math.min(furthest, -lowest / Math.log10(this.m));
    drawing.append(
      svg("text", { class: "rhm-label", x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" },
        "tree distance: rules on the way, r"),
      svg("text", { class: "rhm-label", x: left + 6, y: top + 18 }, "signal S"),
      svg("text", { class: "rhm-label", x: x(1.5) + 6, y: y(this.m ** -1.5) - 6 }, "m",
        svg("tspan", { dy: -5, "font-size": "10" }, "−r")),
      svg("line", { class: "rhm-law", x1: x(0.5), y1: y(this.m ** -0.5), x2: x(end), y2: y(this.m ** -end) }));
    const rank = (row) => (row.level === this.level ? (row.setting === this.setting ? 2 : 1) : 0);
    rows.sort((a, b) => rank(a) - rank(b)).forEach((row) => drawing.append(...this.point(row, rank(row), x, y)));
    return drawing;
  }

  point(row, rank, x, y) {
    const at = x(row.rules + SHIFT[row.setting]);
    const bar = svg("line", { class: `rhm-whisker rhm-${row.setting}`, x1: at, x2: at, y1: y(row.low), y2: y(row.high) });
    const mark = marker(row.setting, at, y(row.signal), [3.6, 5, 7][rank], rank ? "rhm-full" : "rhm-faint");
    const halo = rank === 2 ? [svg("circle", { class: `rhm-halo rhm-${row.setting}`, cx: at, cy: y(row.signal), r: 13 })] : [];
    return rank ? [bar, ...halo, mark] : [mark];
  }
}

export default {
  render({ model, el, signal }) {
    new Distances(model, el, signal);
  },
};
