/**
 * What views of networks that read symbols share: probabilities of classes after every step, and hidden units.
 */

import { byUnit, heatmap, hiddenHeatmaps } from "explorer/heatmap";
import { softmax } from "explorer/network";

/** @typedef {import("explorer/network").Network} Network */
/** @typedef {import("explorer/network").Run} Run */

/**
 * Probabilities of the classes after every step.
 * @param {Network} network
 * @param {Run} run
 * @returns {Float32Array} [T * O]
 */
export function probabilities(network, run) {
  const outputs = network.architecture.output_size;
  const found = new Float32Array(run.logits.length);
  for (let first = 0; first < found.length; first += outputs)
    found.set(softmax(run.logits.subarray(first, first + outputs)), first);
  return found;
}

/**
 * Width of a step in pixels, so that long strings fit beside each other.
 * @param {number} steps
 */
export const stepWidth = (steps) => Math.max(9, Math.min(28, Math.floor(480 / steps)));

/**
 * A heat map of probabilities, a row per class, and heat maps of the hidden units below it.
 * @param {Network} network
 * @param {Run} run
 * @param {string[]} read name of what is read at every step
 * @param {string[]} classes
 * @param {string} title
 * @returns {HTMLElement[]}
 */
export function readingMaps(network, run, read, classes, title) {
  const outputs = network.architecture.output_size;
  const steps = read.length;
  const names = Array.from({ length: outputs }, (_, o) => classes[o] ?? String(o));
  const width = stepWidth(steps);
  const map = heatmap({
    title,
    values: byUnit(probabilities(network, run), outputs),
    rows: outputs,
    columns: steps,
    width,
    height: 18,
    across: read,
    down: names,
    rowName: (o) => names[o],
    columnName: (t) => `after ${read[t]} at step ${t + 1}`,
  });
  return [map, ...hiddenHeatmaps(run.hidden, network.architecture.hidden_size, read, width)];
}
