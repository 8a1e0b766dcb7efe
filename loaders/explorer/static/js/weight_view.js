/**
 * The weights of a network: one heat map per layer and gate, and of the readout.
 */

import { element } from "explorer/dom";
import { heatmap, scaleLegend } from "explorer/heatmap";

/** @typedef {import("explorer/dataset").NamedArchitecture} NamedArchitecture */
/** @typedef {import("explorer/weights").Tensors} Tensors */

/** Names of the gates, in the order in which their rows are stored. */
const GATES = /** @type {Record<string, string[]>} */ ({
  lstm: ["input gate", "forget gate", "candidate", "output gate"],
  gru: ["reset gate", "update gate", "candidate"],
  rnn: ["units"],
});

/**
 * Heat maps of all weights; one scale, whose limit is the largest size of the first 99.5% of them.
 * @param {NamedArchitecture} architecture
 * @param {Tensors} tensors
 * @returns {HTMLElement[]}
 */
export function weightView(architecture, tensors) {
  const limit = scaleLimit(tensors);
  const maps = [];
  for (let layer = 0; layer < architecture.num_layers; layer++) {
    const inputs = layer === 0 ? architecture.input_size : architecture.hidden_size;
    const gates = GATES[architecture.cell].map((name, gate) =>
      gateMap(architecture, tensors, layer, gate, inputs, name, limit),
    );
    maps.push(element("div", { class: "gates" }, element("h4", {}, `Layer ${layer + 1}`), ...gates));
  }
  return [
    element(
      "p",
      { class: "note" },
      "Per gate: weights of inputs, of recurrent units, then both biases. ",
      scaleLegend(limit),
    ),
    ...maps,
    readout(architecture, tensors, limit),
  ];
}

/** @param {Tensors} tensors */
function scaleLimit(tensors) {
  const sizes = [...tensors.values()].flatMap((values) => Array.from(values, Math.abs)).sort((a, b) => a - b);
  return sizes[Math.floor(0.995 * (sizes.length - 1))] || 1;
}

/**
 * @param {NamedArchitecture} architecture
 * @param {Tensors} tensors
 * @param {number} layer
 * @param {number} gate
 * @param {number} inputs
 * @param {string} name
 * @param {number} limit
 */
function gateMap(architecture, tensors, layer, gate, inputs, name, limit) {
  const units = architecture.hidden_size;
  const part = (/** @type {string} */ kind) =>
    /** @type {Float32Array} */ (tensors.get(`${architecture.cell}.${kind}_l${layer}`));
  const [ih, hh, bih, bhh] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(part);
  const columns = inputs + units + 2;
  const values = new Float32Array(units * columns);
  for (let unit = 0; unit < units; unit++) {
    const row = gate * units + unit;
    values.set(ih.subarray(row * inputs, (row + 1) * inputs), unit * columns);
    values.set(hh.subarray(row * units, (row + 1) * units), unit * columns + inputs);
    values.set([bih[row], bhh[row]], unit * columns + inputs + units);
  }
  const columnName = (/** @type {number} */ column) => {
    if (column < inputs) return `input ${column}`;
    if (column < inputs + units) return `unit ${column - inputs}`;
    return column === inputs + units ? "bias_ih" : "bias_hh";
  };
  return heatmap({
    title: name,
    values,
    rows: units,
    columns,
    limit,
    sharesScale: true,
    width: 4,
    height: 4,
    rowName: (unit) => `unit ${unit}`,
    columnName,
  });
}

/**
 * @param {NamedArchitecture} architecture
 * @param {Tensors} tensors
 * @param {number} limit
 */
function readout(architecture, tensors, limit) {
  const [outputs, units] = [architecture.output_size, architecture.hidden_size];
  const [weight, bias] = ["linear.weight", "linear.bias"].map(
    (name) => /** @type {Float32Array} */ (tensors.get(name)),
  );
  const values = new Float32Array(outputs * (units + 1));
  for (let output = 0; output < outputs; output++) {
    values.set(weight.subarray(output * units, (output + 1) * units), output * (units + 1));
    values[output * (units + 1) + units] = bias[output];
  }
  const columnName = (/** @type {number} */ column) => (column < units ? `unit ${column}` : "bias");
  const map = heatmap({
    title: "readout",
    values,
    rows: outputs,
    columns: units + 1,
    limit,
    sharesScale: true,
    width: 4,
    height: 8,
    rowName: (output) => `output ${output}`,
    columnName,
  });
  return element("div", { class: "gates" }, map);
}
