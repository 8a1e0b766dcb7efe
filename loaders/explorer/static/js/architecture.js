/** Architectures of networks: their sizes, and the names and shapes of their parameters in order. */

/** @typedef {"lstm" | "gru" | "rnn"} Cell */
/**
 * @typedef {object} Architecture Sizes of a network, with the names of zoo.json.
 * @property {Cell} cell
 * @property {number} num_layers L.
 * @property {number} input_size I.
 * @property {number} hidden_size H.
 * @property {number} output_size O.
 */
/** @typedef {Map<string, Float32Array> | Record<string, Float32Array>} Tensors Parameter name -> entries, by row. */

/** Number of gates of each cell, in PyTorch's order: lstm i, f, g, o; gru r, z, n; rnn one candidate. */
export const GATES = Object.freeze({ lstm: 4, gru: 3, rnn: 1 });

/**
 * Return names and shapes of the parameters of one layer: weight_ih, weight_hh, bias_ih, bias_hh.
 * @param {Architecture} architecture
 * @param {number} layer Number of the layer, from 0.
 * @returns {[string, number[]][]} Four pairs: [GH, I or H], [GH, H], [GH], [GH].
 */
export function layerShapes(architecture, layer) {
  const { cell, hidden_size: size } = architecture;
  const rows = GATES[cell] * size;
  return [
    [`${cell}.weight_ih_l${layer}`, [rows, layer === 0 ? architecture.input_size : size]],
    [`${cell}.weight_hh_l${layer}`, [rows, size]],
    [`${cell}.bias_ih_l${layer}`, [rows]],
    [`${cell}.bias_hh_l${layer}`, [rows]],
  ];
}

/**
 * Return name -> shape of every parameter, in the order of the flat weight vector.
 * @param {Architecture} architecture
 * @returns {Map<string, number[]>}
 */
export function parameterShapes(architecture) {
  /** @type {Map<string, number[]>} */
  const shapes = new Map();
  for (let layer = 0; layer < architecture.num_layers; layer++) {
    layerShapes(architecture, layer).forEach(([name, shape]) => shapes.set(name, shape));
  }
  shapes.set("linear.weight", [architecture.output_size, architecture.hidden_size]);
  return shapes.set("linear.bias", [architecture.output_size]);
}

/**
 * Return the number of entries of a tensor.
 * @param {number[]} shape
 * @returns {number}
 */
export function sizeOf(shape) {
  return shape.reduce((product, axis) => product * axis, 1);
}

/**
 * Return tensors as a Map in the order of `parameterShapes`; throw RangeError unless they fit the architecture.
 * @param {Architecture} architecture
 * @param {Tensors} tensors
 * @returns {Map<string, Float32Array>}
 */
export function checkedTensors(architecture, tensors) {
  const given = tensors instanceof Map ? tensors : new Map(Object.entries(tensors));
  const shapes = parameterShapes(architecture);
  for (const name of given.keys()) {
    if (!shapes.has(name)) throw new RangeError(`Unknown parameter ${name}; expected ${[...shapes.keys()]}.`);
  }
  /** @type {Map<string, Float32Array>} */
  const checked = new Map();
  for (const [name, shape] of shapes) {
    const tensor = given.get(name);
    if (tensor?.length !== sizeOf(shape)) {
      throw new RangeError(`${name} has ${tensor?.length ?? "no"} entries; expected ${sizeOf(shape)}: [${shape}].`);
    }
    checked.set(name, tensor);
  }
  return checked;
}
