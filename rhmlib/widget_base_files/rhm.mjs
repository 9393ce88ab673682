// The Random Hierarchy Model in the page: what rhmlib.grammar, sampling and exact say, in small.
//
// A grammar is { v, m, s, L, rules } with rules[level][symbol][k] an s-tuple of symbols of that level; a
// derivation is an array of L + 1 arrays, levels[0] the tokens and levels[L] the root. Nothing is changed in place.

import { Random } from "./random.mjs";

/** Why no grammar has this shape, in words; "" where one has. */
export function wrongShape({ v, m, s, L, mostTokens = 32 }) {
  for (const [name, value, least] of [["v", v, 2], ["m", m, 1], ["s", s, 2], ["L", L, 1]]) {
    if (!Number.isInteger(value) || value < least) {
      return `${name} must be an integer >= ${least}. Found ${name}=${value}.`;
    }
  }
  if (m > v ** (s - 1)) return `m must be at most v^(s-1) = ${v ** (s - 1)}. Found m=${m}.`;
  if (s ** L > mostTokens) return `s^L must be at most ${mostTokens} tokens. Found ${s ** L}.`;
  return "";
}

/** The grammar that rhmlib's Grammar.random draws from the same numbers. */
export function randomGrammar({ v, m, s, L, seed }) {
  const wrong = wrongShape({ v, m, s, L, mostTokens: Infinity });
  if (wrong) throw new RangeError(wrong);
  const random = new Random(seed);
  const digits = (code) => Array.from({ length: s }, (_, j) => Math.floor(code / v ** (s - 1 - j)) % v);
  const rules = Array.from({ length: L }, () => {
    const tuples = random.choice(v ** s, v * m).map(digits);
    return Array.from({ length: v }, (_, a) => tuples.slice(a * m, (a + 1) * m));
  });
  return { v, m, s, L, rules };
}

const same = (a, b) => a.every((x, i) => x === b[i]);

/** Parent and number k of the rule that writes a tuple of level-`level` symbols; null if none does. */
export function parse(grammar, level, tuple) {
  for (const [parent, rules] of grammar.rules[level].entries()) {
    const rule = rules.findIndex((candidate) => same(candidate, tuple));
    if (rule >= 0) return { parent, rule };
  }
  return null;
}

/** The children of a node, level >= 1. */
export function childrenOf({ s }, levels, level, index) {
  return levels[level - 1].slice(index * s, (index + 1) * s);
}

/** Number k of the rule that a node, level >= 1, has used. */
export function ruleOf(grammar, levels, level, index) {
  const tuple = childrenOf(grammar, levels, level, index);
  return grammar.rules[level - 1][levels[level][index]].findIndex((rule) => same(rule, tuple));
}

/** Write the rule `rule` below a node, and draw all rules further down. */
function expand(grammar, levels, level, index, rule, random) {
  const { s, m, rules } = grammar;
  rules[level - 1][levels[level][index]][rule].forEach((symbol, j) => {
    const child = index * s + j;
    levels[level - 1][child] = symbol;
    if (level > 1) expand(grammar, levels, level - 1, child, random.upTo(m - 1), random);
  });
}

/** Draw a string: a uniform root, then a uniform rule at every node. */
export function drawString(grammar, random) {
  const { v, m, s, L } = grammar;
  const levels = Array.from({ length: L + 1 }, (_, level) => new Array(s ** (L - level)).fill(0));
  levels[L][0] = random.upTo(v - 1);
  expand(grammar, levels, L, 0, random.upTo(m - 1), random);
  return levels;
}

/** Swap a synonym: the node takes another of its rules (`rule`, or one at random), and all below is drawn again. */
export function swapSynonym(grammar, levels, level, index, random, rule = null) {
  if (level < 1) throw new RangeError(`level must be in 1..${grammar.L}. Found level=${level}.`);
  const old = ruleOf(grammar, levels, level, index);
  if (rule === null) {
    if (grammar.m === 1) throw new RangeError("m must be at least 2 for a symbol to have another rule.");
    rule = (old + 1 + random.upTo(grammar.m - 2)) % grammar.m;
  }
  const swapped = levels.map((row) => row.slice());
  expand(grammar, swapped, level, index, rule, random);
  return swapped;
}

/** The nodes [level, index] where two derivations differ. */
export function changedNodes(before, after) {
  return after.flatMap((row, level) =>
    row.flatMap((symbol, index) => (symbol === before[level][index] ? [] : [[level, index]])),
  );
}

const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);

/** Indices of the children of a node, one level below. */
export function tupleBelow({ s }, index) {
  return range(index * s, (index + 1) * s);
}

/** Is a node below another one? */
export function isBelow({ s }, [level, index], [top, above]) {
  return level < top && Math.floor(index / s ** (top - level)) === above;
}

/** Indices of the cousins of the tuple below a node: same grandparent, another parent. None at the root. */
export function cousinsOf({ s, L }, level, index) {
  if (level >= L) return [];
  const grandparent = Math.floor(index / s);
  return tupleBelow({ s }, grandparent)
    .filter((aunt) => aunt !== index)
    .flatMap((aunt) => tupleBelow({ s }, aunt));
}

/** Exact law of the symbol at a node, from the root down. */
export function nodeLaw(grammar, level, index) {
  const { v, m, s, L, rules } = grammar;
  let law = new Array(v).fill(1 / v);
  for (let top = L - 1; top >= level; top--) {
    const place = Math.floor(index / s ** (top - level)) % s;
    const next = new Array(v).fill(0);
    rules[top].forEach((choices, a) => choices.forEach((rule) => (next[rule[place]] += law[a] / m)));
    law = next;
  }
  return law;
}

/**
 * The context of every tuple below a node (level, index), level <= L - 1: E[e_Z | T = u], Z the symbol at place
 * `token` of the cousin tuple whose parent is at place `cousin` of the common grandparent.
 *
 * The sum runs over the rules of grandparent, parent and aunt, as the model is defined; that synonyms have one context
 * is a result. Returns contexts[parent][k], null for a parent that never occurs there, and the law `mean` of Z.
 */
export function contexts(grammar, level, index, cousin, token) {
  const { v, m, s, rules } = grammar;
  const place = index % s;
  const law = nodeLaw(grammar, level + 1, Math.floor(index / s));
  const zeros = () => new Array(v).fill(0);
  const joint = Array.from({ length: v }, () => Array.from({ length: m }, zeros));
  rules[level].forEach((choices, grandparent) =>
    choices.forEach((pair) =>
      joint[pair[place]].forEach((row) =>
        rules[level - 1][pair[cousin]].forEach((tuple) => (row[tuple[token]] += law[grandparent] / m ** 3)),
      ),
    ),
  );
  const sum = (row) => row.reduce((total, p) => total + p, 0);
  const mean = zeros();
  joint.flat().forEach((row) => row.forEach((p, z) => (mean[z] += p)));
  const normal = (row) => (sum(row) > 0 ? row.map((p) => p / sum(row)) : null);
  return { contexts: joint.map((tuples) => tuples.map(normal)), mean };
}
