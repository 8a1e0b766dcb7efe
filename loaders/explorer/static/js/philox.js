/**
 * Counter-based random numbers, Philox 4x32-10, with the bits of rnn_zoos/randomness.py.
 *
 * The key is the seed of the zoo, the counter is (block, counter, run, purpose). Any number of any run can be drawn at
 * any time.
 */

/** What a stream of random numbers is used for. */
export const Purpose = Object.freeze({
  TASK: 0,
  INIT: 1,
  DATA: 2,
  EVALUATION: 3,
  ROLLOUTS: 4,
  FIXED_HASH: 5,
  AUTOMATON: 6,
  FURTHER_LABELS: 7,
  HYPERPARAMETERS: 8,
});

const ROUNDS = 10;
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/**
 * Return the upper 32 bits of the product of two words.
 * @param {number} a 0..2**32-1.
 * @param {number} b 0..2**32-1.
 * @returns {number} 0..2**32-1.
 */
function multiplyHigh(a, b) {
  // Products of 16-bit halves, and their sums, stay below 2**32: doubles hold them exactly.
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = (aLow * bHigh + (middle & 0xffff)) >>> 16;
  return aHigh * bHigh + (middle >>> 16) + carry;
}

/**
 * Replace a counter by its four random words.
 * @param {Uint32Array} words The counter [4]; the random words take its place.
 * @param {number} low Lower half of the key.
 * @param {number} high Upper half of the key.
 */
function philox(words, low, high) {
  let [c0, c1, c2, c3] = words;
  let k0 = low;
  let k1 = high;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(c0, MULTIPLIER_0);
    const low0 = Math.imul(c0, MULTIPLIER_0);
    const high1 = multiplyHigh(c2, MULTIPLIER_1);
    const low1 = Math.imul(c2, MULTIPLIER_1);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

/**
 * Return the lower and the upper half of a key of 64 bits.
 * @param {bigint | number} seed A number must be a safe integer: larger ones have lost digits, as JSON.parse does.
 * @returns {[number, number]}
 */
function keyOf(seed) {
  if (typeof seed === "number" && !Number.isSafeInteger(seed)) {
    throw new RangeError(`The seed is the number ${seed}; expected a whole number below 2**53, or a BigInt.`);
  }
  const key = BigInt.asUintN(64, BigInt(seed));
  return [Number(key & 0xffffffffn), Number(key >> 32n)];
}

/**
 * Draw random words of one run, the first `count` at one place of a stream: a larger count appends words.
 * @param {bigint | number} seed Seed of the zoo, up to 64 bits.
 * @param {number} run Number of the run.
 * @param {number} purpose The stream to draw from, one of `Purpose`.
 * @param {number} counter Position in the stream, for example a step.
 * @param {number} count Number of words.
 * @returns {Uint32Array} Words [count].
 */
export function randomBits(seed, run, purpose, counter, count) {
  const [low, high] = keyOf(seed);
  const words = new Uint32Array(Math.ceil(count / 4) * 4);
  for (let block = 0; 4 * block < count; block++) {
    const place = words.subarray(4 * block, 4 * block + 4);
    place.set([block, counter, run, purpose]);
    philox(place, low, high);
  }
  return words.subarray(0, count);
}

/**
 * Convert words to numbers in [0, 1) by their upper 24 bits, which float32 represents exactly.
 * @param {Uint32Array} bits Words [N].
 * @returns {Float32Array} Numbers [N].
 */
export function toUniform(bits) {
  return Float32Array.from(bits, (word) => (word >>> 8) * 2 ** -24);
}

/**
 * Convert words to 0..limit-1 by multiply and shift.
 * @param {Uint32Array} bits Words [N].
 * @param {number} limit At most 2**31.
 * @returns {Uint32Array} Whole numbers [N].
 */
export function toIntegers(bits, limit) {
  return bits.map((word) => multiplyHigh(word, limit));
}
