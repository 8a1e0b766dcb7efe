/**
 * Signed permutations of hidden units, which keep the function of a network; canonical forms; alignment of networks.
 *
 * The units of a layer can be reordered, and the state of each unit can be negated: that negates the rows of its
 * candidate gate and all columns that read the unit.
 */

import { GATES, checkedTensors, layerShapes, parameterShapes } from "explorer/architecture";
import { bestAssignment } from "explorer/assignment";

/** @typedef {import("explorer/architecture").Architecture} Architecture */
/** @typedef {import("explorer/architecture").Tensors} Tensors */
/**
 * In each layer, unit k of the result is `signs[k]` times unit `order[k]` of the original.
 * @typedef {{order: Int32Array, signs: Float32Array}} LayerPermutation Both [H].
 * @typedef {LayerPermutation[]} SignedPermutation One for each layer.
 */
/**
 * What pairing unit k of a target with unit j of a source adds to the inner product of their weights.
 * @typedef {{unsigned: Float64Array, signed: Float64Array, size: number}} Scores [H*H], the part that does not depend
 *   on the sign of unit j and the part that the sign multiplies; and H.
 */

/** The gate that carries the sign of the state. */
const CANDIDATE = Object.freeze({ lstm: 2, gru: 2, rnn: 0 });
const MAX_SWEEPS = 50;

/**
 * Return the permutation of one layer that changes nothing.
 * @param {Architecture} architecture
 * @returns {LayerPermutation}
 */
function identityLayer({ hidden_size: size }) {
  return { order: Int32Array.from({ length: size }, (_, unit) => unit), signs: new Float32Array(size).fill(1) };
}

/**
 * Return the permutation that changes nothing.
 * @param {Architecture} architecture
 * @returns {SignedPermutation}
 */
export function identityPermutation(architecture) {
  return Array.from({ length: architecture.num_layers }, () => identityLayer(architecture));
}

/**
 * Return a permutation with another one in one layer.
 * @param {SignedPermutation} permutation
 * @param {number} layer
 * @param {LayerPermutation} by
 * @returns {SignedPermutation}
 */
function withLayer(permutation, layer, by) {
  return permutation.map((old, number) => (number === layer ? by : old));
}

/**
 * Permute the rows [GH] of a matrix or bias that produces the units of a layer, and sign those of the candidate.
 * @param {Architecture} architecture
 * @param {Float32Array} matrix [GH*C].
 * @param {LayerPermutation} by
 * @returns {Float32Array} [GH*C].
 */
function moveRows({ cell, hidden_size: size }, matrix, { order, signs }) {
  const rows = GATES[cell] * size;
  const columns = matrix.length / rows;
  const moved = new Float32Array(matrix.length);
  for (let row = 0; row < rows; row++) {
    const unit = row % size;
    const source = (row - unit + order[unit]) * columns;
    const sign = row - unit === CANDIDATE[cell] * size ? signs[unit] : 1;
    for (let column = 0; column < columns; column++) moved[row * columns + column] = sign * matrix[source + column];
  }
  return moved;
}

/**
 * Permute and sign the columns [H] of a matrix that reads the units of a layer.
 * @param {Float32Array} matrix [R*H].
 * @param {LayerPermutation} by
 * @returns {Float32Array} [R*H].
 */
function moveColumns(matrix, { order, signs }) {
  const size = order.length;
  return matrix.map((_, place) => signs[place % size] * matrix[place - (place % size) + order[place % size]]);
}

/**
 * Return the permuted tensors: those of a network with the same function.
 * @param {Architecture} architecture
 * @param {Tensors} tensors
 * @param {SignedPermutation} permutation
 * @returns {Map<string, Float32Array>}
 */
export function applySignedPermutation(architecture, tensors, permutation) {
  const moved = new Map(checkedTensors(architecture, tensors));
  /** @param {string} name @param {(tensor: Float32Array) => Float32Array} change */
  const move = (name, change) => moved.set(name, change(/** @type {Float32Array} */ (moved.get(name))));
  permutation.forEach((by, layer) => {
    const names = layerShapes(architecture, layer).map(([name]) => name);
    if (layer > 0) move(names[0], (matrix) => moveColumns(matrix, permutation[layer - 1]));
    move(names[1], (matrix) => moveColumns(matrix, by));
    names.forEach((name) => move(name, (tensor) => moveRows(architecture, tensor, by)));
  });
  move("linear.weight", (matrix) => moveColumns(matrix, permutation[permutation.length - 1]));
  return moved;
}

/**
 * Return the canonical tensors, equal for all signed permutations of a network, and the permutation that gives them.
 *
 * Layer by layer from the input, each unit gets the sign that makes the sum of its candidate's input weights positive,
 * and units are sorted by this sum in descending order. Python adds in float32, in an order that depends on the
 * processor: where two sums, or a sum and zero, are closer than about 1e-7, its order or sign may be another one.
 * @param {Architecture} architecture
 * @param {Tensors} tensors
 * @returns {{tensors: Map<string, Float32Array>, permutation: SignedPermutation}}
 */
export function canonicalForm(architecture, tensors) {
  const { cell, num_layers: layers, hidden_size: size } = architecture;
  const permutation = identityPermutation(architecture);
  for (let layer = 0; layer < layers; layer++) {
    const [[name, [, columns]]] = layerShapes(architecture, layer);
    const weight = /** @type {Float32Array} */ (applySignedPermutation(architecture, tensors, permutation).get(name));
    const sums = Float32Array.from({ length: size }, (_, unit) => {
      const first = (CANDIDATE[cell] * size + unit) * columns;
      return weight.subarray(first, first + columns).reduce((sum, entry) => sum + entry, 0);
    });
    const { order } = permutation[layer];
    order.set(Array.from(order).sort((a, b) => Math.abs(sums[b]) - Math.abs(sums[a])));
    permutation[layer].signs = Float32Array.from(order, (unit) => (sums[unit] < 0 ? -1 : 1));
  }
  return { tensors: applySignedPermutation(architecture, tensors, permutation), permutation };
}

/**
 * Return the inner product of the weights of two networks.
 * @param {Map<string, Float32Array>} a
 * @param {Map<string, Float32Array>} b
 */
function innerProduct(a, b) {
  let sum = 0;
  for (const [name, tensor] of a) {
    const other = /** @type {Float32Array} */ (b.get(name));
    for (let place = 0; place < tensor.length; place++) sum += tensor[place] * other[place];
  }
  return sum;
}

/**
 * Add the products of the units' rows, gate by gate; those of the candidate depend on the sign.
 * @param {Scores} scores
 * @param {Architecture} architecture
 * @param {Float32Array} target [GH*C].
 * @param {Float32Array} source [GH*C].
 */
function addRows({ unsigned, signed, size }, { cell }, target, source) {
  const columns = target.length / (GATES[cell] * size);
  for (let gate = 0; gate < GATES[cell]; gate++) {
    const scores = gate === CANDIDATE[cell] ? signed : unsigned;
    for (let k = 0; k < size; k++) {
      for (let j = 0; j < size; j++) {
        const [ofTarget, ofSource] = [(gate * size + k) * columns, (gate * size + j) * columns];
        let sum = 0;
        for (let column = 0; column < columns; column++) sum += target[ofTarget + column] * source[ofSource + column];
        scores[k * size + j] += sum;
      }
    }
  }
}

/**
 * Add the products of the columns that read the units, which depend on the sign.
 * @param {Scores} scores
 * @param {Float32Array} target [R*H].
 * @param {Float32Array} source [R*H].
 */
function addColumns({ signed, size }, target, source) {
  for (let k = 0; k < size; k++) {
    for (let j = 0; j < size; j++) {
      let sum = 0;
      for (let row = 0; row < target.length; row += size) sum += target[row + k] * source[row + j];
      signed[k * size + j] += sum;
    }
  }
}

/**
 * Return the best permutation of one layer while the other layers stay as they are in `chosen`.
 * @param {Architecture} architecture
 * @param {Map<string, Float32Array>} target
 * @param {Map<string, Float32Array>} tensors
 * @param {SignedPermutation} chosen
 * @param {number} layer
 * @param {boolean} inputsOnly Compare only weight_ih and the biases.
 * @returns {LayerPermutation}
 */
function bestLayer(architecture, target, tensors, chosen, layer, inputsOnly) {
  const size = architecture.hidden_size;
  const others = withLayer(chosen, layer, identityLayer(architecture)); // column j of a score is unit j
  const source = applySignedPermutation(architecture, tensors, others);
  const scores = { unsigned: new Float64Array(size ** 2), signed: new Float64Array(size ** 2), size };
  /** @param {Map<string, Float32Array>} network @param {string} name */
  const read = (network, name) => /** @type {Float32Array} */ (network.get(name));
  const [weightInput, weightHidden, ...biases] = layerShapes(architecture, layer).map(([name]) => name);
  const recurrent = read(source, weightHidden);
  if (!inputsOnly) {
    const last = layer + 1 === architecture.num_layers;
    const readers = last ? "linear.weight" : layerShapes(architecture, layer + 1)[0][0];
    addColumns(scores, read(target, weightHidden), moveRows(architecture, recurrent, chosen[layer]));
    addColumns(scores, read(target, readers), read(source, readers));
  }
  for (const name of [weightInput, ...biases]) addRows(scores, architecture, read(target, name), read(source, name));
  if (!inputsOnly) {
    addRows(scores, architecture, read(target, weightHidden), moveColumns(recurrent, chosen[layer]));
  }
  const { unsigned, signed } = scores;
  const order = bestAssignment(
    unsigned.map((score, place) => score + Math.abs(signed[place])),
    size,
  );
  return { order, signs: Float32Array.from(order, (unit, k) => (signed[k * size + unit] < 0 ? -1 : 1)) };
}

/**
 * Return the signed permutation that brings the units of a source network closest to those of a target network.
 *
 * This is weight matching (Ainsworth et al., 2023, section 3.2) with the better sign for every pair of units. Sweeps
 * over the layers assign the units of each layer while the others stay, until the inner product no longer grows; a
 * first sweep compares only inputs, so that a permuted copy is recovered exactly. The result is a local optimum.
 * @param {Architecture} architecture Of both networks.
 * @param {Tensors} target The network to approach.
 * @param {Tensors} source The network to permute.
 * @returns {SignedPermutation} Apply it to `source`.
 */
export function align(architecture, target, source) {
  const [to, tensors] = [target, source].map((network) => checkedTensors(architecture, network));
  let chosen = identityPermutation(architecture);
  for (let layer = 0; layer < architecture.num_layers; layer++) {
    chosen = withLayer(chosen, layer, bestLayer(architecture, to, tensors, chosen, layer, true));
  }
  /** @param {SignedPermutation} permutation */
  const closeness = (permutation) => innerProduct(applySignedPermutation(architecture, tensors, permutation), to);
  let best = closeness(chosen);
  for (let sweep = 0, grows = true; grows && sweep < MAX_SWEEPS; sweep++) {
    grows = false;
    for (let layer = 0; layer < architecture.num_layers; layer++) {
      const found = withLayer(chosen, layer, bestLayer(architecture, to, tensors, chosen, layer, false));
      const product = closeness(found);
      if (product > best) [chosen, best, grows] = [found, product, true];
    }
  }
  return chosen;
}
