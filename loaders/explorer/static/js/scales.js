/**
 * Scales of numbers: linear; logarithmic for positive numbers of very different sizes, such as drawn learning rates, or
 * weights of runs that diverge.
 */

import { readable } from "explorer/dom";

/** The largest must be so many times as large as the smallest. */
const FACTOR = 1000;
const MOST_TICKS = 7;
const ROUNDING = 1e-6; // of the logarithms of float32 numbers

/**
 * Where numbers are along an axis or a colour bar, where the first and the last of them are, and ticks; none on a linear
 * scale.
 * @typedef {{tickvals?: number[], ticktext?: string[]}} Ticks
 * @typedef {{place: (value: number) => number, ends: [number, number], ticks: Ticks}} Scale
 */

/**
 * The scale that suits some numbers; those that are missing (NaN) do not count.
 * @param {ArrayLike<number>} values
 * @returns {Scale}
 */
export function scaleOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (let place = 0; place < values.length; place++) {
    low = Math.min(low, Number.isNaN(values[place]) ? Infinity : values[place]);
    high = Math.max(high, Number.isNaN(values[place]) ? -Infinity : values[place]);
  }
  if (low > 0 && high >= FACTOR * low)
    return { place: Math.log10, ends: [Math.log10(low), Math.log10(high)], ticks: powersOfTen(low, high) };
  return { place: (value) => value, ends: low <= high ? [low, high] : [0, 1], ticks: {} };
}

/**
 * Ticks at powers of ten between two numbers, not too many.
 * @param {number} low
 * @param {number} high
 */
function powersOfTen(low, high) {
  const [first, last] = [Math.ceil(Math.log10(low) - ROUNDING), Math.floor(Math.log10(high) + ROUNDING)];
  const every = Math.ceil((last - first + 1) / MOST_TICKS);
  const tickvals = [];
  for (let power = first; power <= last; power += every) tickvals.push(power);
  const ticktext = tickvals.map((power) => (Math.abs(power) < 5 ? readable(10 ** power) : `10<sup>${power}</sup>`));
  return { tickvals, ticktext };
}
