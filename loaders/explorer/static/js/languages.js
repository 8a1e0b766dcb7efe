/**
 * The formal languages a^n b^(n+m_b) c^(n+m_c) d^(n+m_d): strings, verdicts, and the strings that a network writes.
 *
 * Sequences start with BOS, end with EOS, and are padded with EOS to 42 symbols.
 */

import { logSoftmax } from "explorer/network";
import { Purpose, randomBits, toUniform } from "explorer/philox";

/** @typedef {import("explorer/network").Network} Network */
/**
 * Finished: there is an EOS. Right counts: finished, and n, n+m_b, n+m_c and n+m_d letters for some n. Accepted: right
 * counts, in order, without other symbols. All count what is before the first EOS.
 * @typedef {{finished: boolean, rightCounts: boolean, accepted: boolean}} Verdict
 */

/** The letters a to d are the symbols 0 to 3. */
export const LETTERS = "abcd";
export const BOS = 4;
export const EOS = 5;
/** Symbols of a sequence, including BOS; a network predicts LENGTH - 1 of them. */
export const LENGTH = 42;

const NAMES = `${LETTERS}^$`;
const OPEN = "..."; // ends the text of a sequence without EOS

/**
 * Return a sequence as text: the letters before the first EOS; `^` is a further BOS, a final `...` means no EOS.
 * @param {ArrayLike<number>} sequence Symbols [T], of which the first is BOS.
 * @returns {string}
 */
export function asText(sequence) {
  const written = Array.from(sequence).slice(1);
  const end = written.indexOf(EOS);
  const text = (end < 0 ? written : written.slice(0, end)).map((symbol) => NAMES[symbol]).join("");
  return end < 0 ? text + OPEN : text;
}

/**
 * Judge a sequence, which starts with BOS, by its symbols before the first EOS.
 * @param {ArrayLike<number>} sequence Symbols [T].
 * @param {readonly [number, number, number]} offsets m_b, m_c and m_d.
 * @returns {Verdict}
 */
export function judge(sequence, offsets) {
  const all = Array.from(sequence).slice(1);
  const end = all.indexOf(EOS);
  const written = end < 0 ? all : all.slice(0, end);
  const counts = [...LETTERS].map((_, letter) => written.filter((symbol) => symbol === letter).length);
  const rightCounts = end >= 0 && offsets.every((offset, index) => counts[index + 1] === counts[0] + offset);
  const inOrder = written.every((symbol, index) => index === 0 || symbol >= written[index - 1]);
  return { finished: end >= 0, rightCounts, accepted: rightCounts && inOrder && !written.includes(BOS) };
}

/**
 * Return what is wrong with a string, in the words of `rnn-zoos sample`: nothing, order, counts, or no end.
 * @param {Verdict} verdict
 * @returns {"" | "order" | "counts" | "no end"}
 */
export function fault(verdict) {
  if (verdict.accepted) return "";
  if (verdict.rightCounts) return "order";
  return verdict.finished ? "counts" : "no end";
}

/**
 * Return the first symbol whose cumulative probability exceeds a number; the last one if none does.
 *
 * Probabilities and sums are rounded to float32 where `sample_strings` of the Python package rounds them: torch adds
 * up in double precision, and rounds every sum. The logits of torch have rounding errors of their own, about 1e-7, so
 * that another symbol follows where `uniform` is as close as that to a sum: about once in 10**6 symbols.
 * @param {Float32Array} logits [V].
 * @param {number} uniform In [0, 1).
 * @returns {number}
 */
export function drawSymbol(logits, uniform) {
  let sum = 0;
  const symbol = logSoftmax(logits).findIndex((logProb) => {
    sum += Math.fround(Math.exp(logProb));
    return Math.fround(sum) > uniform;
  });
  return symbol < 0 ? logits.length - 1 : symbol;
}

/**
 * Return the uniform numbers that decide the strings of a snapshot: those on which its accuracy was measured.
 * @param {{seed: bigint | number, run: number, step: number, count: number}} place Seed of the zoo, run and step of the
 *   snapshot, and how many strings; more strings begin with the same ones.
 * @returns {Float32Array} [count * 41].
 */
export function stringUniforms({ seed, run, step, count }) {
  return toUniform(randomBits(seed, run, Purpose.EVALUATION, step, count * (LENGTH - 1)));
}

/**
 * Write one string at temperature 1, and go on after an EOS.
 * @param {Network} network
 * @param {ArrayLike<number>} uniforms One number in [0, 1) per symbol [T].
 * @returns {Uint8Array} Symbols [T+1], of which the first is BOS.
 */
export function sampleString(network, uniforms) {
  const sequence = new Uint8Array(uniforms.length + 1);
  sequence[0] = BOS;
  network.start();
  for (let t = 0; t < uniforms.length; t++) {
    sequence[t + 1] = drawSymbol(network.stepSymbol(sequence[t]), uniforms[t]);
  }
  return sequence;
}

/**
 * Write the strings that `rnn-zoos sample` shows for a snapshot, the first of those that its accuracy was measured on.
 * @param {Network} network Network of the snapshot.
 * @param {{seed: bigint | number, run: number, step: number, count: number}} place As for `stringUniforms`.
 * @returns {Uint8Array[]} Sequences [42], `count` of them.
 */
export function sampleStrings(network, place) {
  const uniforms = stringUniforms(place);
  const steps = LENGTH - 1;
  return Array.from({ length: place.count }, (_, string) =>
    sampleString(network, uniforms.subarray(string * steps, (string + 1) * steps)),
  );
}
