// The way from a tuple to what a setting correlates it with; see rhmlib.signals.

export const SETTINGS = ["supervised", "tokens", "latents"];

/**
 * The way in the tree from the tuple of level-`level` symbols, 0 <= level <= L - 2, to its target.
 *
 * Nodes are [level, index]. `way` begins at the tuple's parent and ends at the target; `rules` are the nodes whose
 * rule lies on the way, unseen by the learner.
 */
export function wayTo(setting, level, s, L) {
  if (!SETTINGS.includes(setting)) {
    throw new RangeError(`setting must be one of ${SETTINGS}. Found setting=${setting}.`);
  }
  if (!(level >= 0 && level <= L - 2)) throw new RangeError(`level must be in 0..${L - 2}. Found level=${level}.`);
  const tuple = Array.from({ length: s }, (_, j) => [level, j]);
  const way = [[level + 1, 0]];
  if (setting === "supervised") {
    for (let top = level + 2; top <= L; top++) way.push([top, 0]);
  } else {
    way.push([level + 2, 0]);
    const lowest = setting === "tokens" ? 0 : level;
    for (let low = level + 1; low >= lowest; low--) way.push([low, s ** (level + 1 - low)]);
  }
  // A rule belongs to the upper end of an edge; the one at the turning point writes both branches.
  const rules = setting === "supervised" ? way.slice(1) : way.slice(1, -1);
  return { tuple, way, target: way[way.length - 1], rules };
}
