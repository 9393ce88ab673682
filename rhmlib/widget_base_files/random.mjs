// numpy.random.default_rng, as far as a grammar needs it: one seed, one grammar, here and in rhmlib.
//
// Sources: M. E. O'Neill, PCG (PCG-XSL-RR 128/64); numpy's SeedSequence, Generator.choice without
// replacement (R. W. Floyd's method) and D. Lemire's bounded integers.

const WORD = 0xffffffffn;
const LONG = (1n << 64n) - 1n;
const HUGE = (1n << 128n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
const MOST_TUPLES = 10000; // above, numpy may choose by another method

/** The first `n` 32-bit words of numpy's SeedSequence(seed), 0 <= seed < 2^32. */
export function seedWords(seed, n) {
  const fold = (x) => (x ^ (x >>> 16)) >>> 0;
  let constant = 0x43b0d7e5;
  const hash = (value) => {
    value = (value ^ constant) >>> 0;
    constant = Math.imul(constant, 0x931e8875) >>> 0;
    return fold(Math.imul(value, constant) >>> 0);
  };
  const mix = (x, y) => fold((Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y)) >>> 0);
  const pool = [seed, 0, 0, 0].map(hash);
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) if (to !== from) pool[to] = mix(pool[to], hash(pool[from]));
  }
  constant = 0x8b51f9dd;
  return Array.from({ length: n }, (_, i) => {
    const value = (pool[i % 4] ^ constant) >>> 0;
    constant = Math.imul(constant, 0x58f38ded) >>> 0;
    return fold(Math.imul(value, constant) >>> 0);
  });
}

/** The bit generator of numpy.random.default_rng(seed). */
export class Random {
  constructor(seed) {
    if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff) {
      throw new RangeError(`seed must be an integer in 0 .. 2^32 - 1. Found seed=${seed}.`);
    }
    const words = seedWords(seed, 8).map(BigInt);
    const long = (i) => words[2 * i] | (words[2 * i + 1] << 32n);
    this.increment = ((((long(2) << 64n) | long(3)) << 1n) | 1n) & HUGE;
    this.state = (this.increment + ((long(0) << 64n) | long(1))) & HUGE;
    this.step();
    this.half = null; // the second half of a 64-bit draw waits for the next 32-bit one
  }

  step() {
    this.state = (this.state * MULTIPLIER + this.increment) & HUGE;
  }

  next32() {
    if (this.half !== null) {
      const kept = this.half;
      this.half = null;
      return kept;
    }
    this.step();
    const mixed = (this.state >> 64n) ^ (this.state & LONG);
    const turn = this.state >> 122n;
    const word = ((mixed >> turn) | (mixed << (64n - turn))) & LONG;
    this.half = word >> 32n;
    return word & WORD;
  }

  /** A uniform integer in 0 .. most, by Lemire's method. */
  upTo(most) {
    if (most === 0) return 0;
    const range = BigInt(most) + 1n;
    const threshold = (WORD - BigInt(most)) % range;
    for (;;) {
      const product = this.next32() * range;
      if ((product & WORD) >= threshold) return Number(product >> 32n);
    }
  }

  /** `size` different integers below `total`, in random order: Generator.choice(replace=False). */
  choice(total, size) {
    if (total > MOST_TUPLES) {
      throw new RangeError(`total must be at most ${MOST_TUPLES}. Found total=${total}.`);
    }
    const seen = new Set();
    const chosen = [];
    for (let last = total - size; last < total; last++) {
      const drawn = this.upTo(last);
      const value = seen.has(drawn) ? last : drawn;
      seen.add(value);
      chosen.push(value);
    }
    for (let i = size - 1; i > 0; i--) {
      const j = this.upTo(i);
      [chosen[i], chosen[j]] = [chosen[j], chosen[i]];
    }
    return chosen;
  }
}
