/**
 * Networks of a zoo: torch.nn.LSTM, GRU or RNN (tanh) with a linear readout at every step.
 *
 * Weights are float32, as in the zoo. States and sums are doubles: a result is then the exact one up to 1e-12 or so,
 * and its distance to that of torch, which computes in float32, is torch's own rounding. Sums in float32 would add a
 * rounding of their own, and take no less time.
 */

import { checkedTensors } from "explorer/architecture";

export { parameterShapes } from "explorer/architecture";

/** @typedef {import("explorer/architecture").Architecture} Architecture */
/** @typedef {import("explorer/architecture").Tensors} Tensors */
/** @typedef {{logits: Float32Array, hidden: Float32Array[]}} Run Logits [T*O]; per layer, hidden states [T*H]. */
/**
 * @callback CellFunction Replace the state of a layer by the next one.
 * @param {Float64Array} fromInput Pre-activations from the input, with their bias [GH].
 * @param {Float64Array} fromHidden Pre-activations from the hidden state, with their bias [GH].
 * @param {Float64Array} hidden Hidden state [H].
 * @param {Float64Array} memory Cell state [H] of an LSTM.
 * @returns {void}
 */

/** @param {number} x */
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** @type {CellFunction} */
function lstmCell(fromInput, fromHidden, hidden, memory) {
  const size = hidden.length;
  for (let k = 0; k < size; k++) {
    const inputGate = sigmoid(fromInput[k] + fromHidden[k]);
    const forgetGate = sigmoid(fromInput[size + k] + fromHidden[size + k]);
    const candidate = Math.tanh(fromInput[2 * size + k] + fromHidden[2 * size + k]);
    const outputGate = sigmoid(fromInput[3 * size + k] + fromHidden[3 * size + k]);
    memory[k] = forgetGate * memory[k] + inputGate * candidate;
    hidden[k] = outputGate * Math.tanh(memory[k]);
  }
}

/** @type {CellFunction} */
function gruCell(fromInput, fromHidden, hidden) {
  const size = hidden.length;
  for (let k = 0; k < size; k++) {
    const reset = sigmoid(fromInput[k] + fromHidden[k]);
    const update = sigmoid(fromInput[size + k] + fromHidden[size + k]);
    // The reset gate multiplies the product with the hidden state and its bias, as in torch.
    const candidate = Math.tanh(fromInput[2 * size + k] + reset * fromHidden[2 * size + k]);
    hidden[k] = (1 - update) * candidate + update * hidden[k];
  }
}

/** @type {CellFunction} */
function rnnCell(fromInput, fromHidden, hidden) {
  for (let k = 0; k < hidden.length; k++) hidden[k] = Math.tanh(fromInput[k] + fromHidden[k]);
}

/** @type {Record<Architecture["cell"], CellFunction>} */
const CELL_FUNCTIONS = { lstm: lstmCell, gru: gruCell, rnn: rnnCell };

/**
 * Write weight * input + bias.
 * @param {Float32Array} weight [R, C].
 * @param {Float32Array} bias [R].
 * @param {Float64Array} input [C].
 * @param {Float64Array} output [R].
 */
function affine(weight, bias, input, output) {
  const columns = input.length;
  const paired = columns - (columns % 2);
  for (let row = 0, place = 0; row < output.length; row++) {
    // Two sums, since each addition waits for the one before.
    let sum = bias[row];
    let other = 0;
    for (let column = 0; column < paired; column += 2, place += 2) {
      sum += weight[place] * input[column];
      other += weight[place + 1] * input[column + 1];
    }
    if (paired < columns) sum += weight[place++] * input[paired];
    output[row] = sum + other;
  }
}

/** One recurrent layer and its state. */
class Layer {
  /**
   * @param {Architecture["cell"]} cell
   * @param {Float32Array[]} parameters weight_ih, weight_hh, bias_ih, bias_hh.
   * @param {number} size H.
   */
  constructor(cell, parameters, size) {
    const [weightInput, weightHidden, biasInput, biasHidden] = parameters;
    this.weightInput = weightInput;
    this.weightHidden = weightHidden;
    this.biasInput = biasInput;
    this.biasHidden = biasHidden;
    this.cell = CELL_FUNCTIONS[cell];
    this.hidden = new Float64Array(size);
    this.memory = new Float64Array(cell === "lstm" ? size : 0);
    this.fromInput = new Float64Array(biasInput.length);
    this.fromHidden = new Float64Array(biasInput.length);
  }

  /** @param {Float64Array} input [I or H]. */
  step(input) {
    affine(this.weightInput, this.biasInput, input, this.fromInput);
    this.update();
  }

  /** @param {number} symbol The only input that is 1; the others are 0. */
  stepSymbol(symbol) {
    const columns = this.weightInput.length / this.biasInput.length;
    for (let row = 0; row < this.fromInput.length; row++) {
      this.fromInput[row] = this.weightInput[row * columns + symbol] + this.biasInput[row];
    }
    this.update();
  }

  update() {
    affine(this.weightHidden, this.biasHidden, this.hidden, this.fromHidden);
    this.cell(this.fromInput, this.fromHidden, this.hidden, this.memory);
  }
}

/** A network and its state, which starts at zero. */
export class Network {
  /**
   * Make a network; throw RangeError unless the tensors, which are not copied, fit the architecture.
   * @param {Architecture} architecture
   * @param {Tensors} tensors
   */
  constructor(architecture, tensors) {
    const checked = [...checkedTensors(architecture, tensors).values()];
    this.architecture = architecture;
    this.readoutWeight = checked[checked.length - 2];
    this.readoutBias = checked[checked.length - 1];
    this.input = new Float64Array(architecture.input_size);
    this.output = new Float64Array(architecture.output_size);
    /** @type {Layer[]} */
    this.layers = [];
    for (let layer = 0; layer < architecture.num_layers; layer++) {
      this.layers.push(new Layer(architecture.cell, checked.slice(4 * layer, 4 * layer + 4), architecture.hidden_size));
    }
  }

  /** Return to the state before the first step. */
  start() {
    for (const layer of this.layers) {
      layer.hidden.fill(0);
      layer.memory.fill(0);
    }
  }

  /**
   * Read one input.
   * @param {ArrayLike<number>} input [I].
   * @returns {Float32Array} Logits [O].
   */
  step(input) {
    this.input.set(input);
    this.layers[0].step(this.input);
    return this.finishStep();
  }

  /**
   * Read one symbol: the same as `step` of its one-hot vector, without the zeros.
   * @param {number} symbol 0..I-1.
   * @returns {Float32Array} Logits [O].
   */
  stepSymbol(symbol) {
    if (!(symbol >= 0 && symbol < this.architecture.input_size)) {
      throw new RangeError(`The symbol is ${symbol}; expected 0 to ${this.architecture.input_size - 1}.`);
    }
    this.layers[0].stepSymbol(symbol);
    return this.finishStep();
  }

  /** Run all layers but the first, and the readout. */
  finishStep() {
    for (let layer = 1; layer < this.layers.length; layer++) this.layers[layer].step(this.layers[layer - 1].hidden);
    affine(this.readoutWeight, this.readoutBias, this.layers[this.layers.length - 1].hidden, this.output);
    return Float32Array.from(this.output);
  }

  /**
   * Run the network from its start over a sequence of inputs.
   * @param {Float32Array} inputs [T*I].
   * @param {number} steps T.
   * @returns {Run}
   */
  run(inputs, steps) {
    const size = this.architecture.input_size;
    if (inputs.length !== steps * size) {
      throw new RangeError(`There are ${inputs.length} inputs; expected ${steps} steps of ${size}.`);
    }
    return this.record(steps, (t) => this.step(inputs.subarray(t * size, (t + 1) * size)));
  }

  /**
   * Run the network from its start over a sequence of symbols.
   * @param {ArrayLike<number>} symbols [T].
   * @returns {Run}
   */
  runSymbols(symbols) {
    return this.record(symbols.length, (t) => this.stepSymbol(symbols[t]));
  }

  /**
   * @param {number} steps T.
   * @param {(t: number) => Float32Array} step Does step t, and returns its logits.
   * @returns {Run}
   */
  record(steps, step) {
    const { output_size: outputs, hidden_size: size } = this.architecture;
    const logits = new Float32Array(steps * outputs);
    const hidden = this.layers.map(() => new Float32Array(steps * size));
    this.start();
    for (let t = 0; t < steps; t++) {
      logits.set(step(t), t * outputs);
      this.layers.forEach((layer, number) => hidden[number].set(layer.hidden, t * size));
    }
    return { logits, hidden };
  }
}

/**
 * Return the log-probabilities of one step, rounded to float32 where torch rounds.
 * @param {ArrayLike<number>} logits [O].
 * @returns {Float32Array} [O].
 */
export function logSoftmax(logits) {
  const shifted = Float32Array.from(logits);
  const largest = shifted.reduce((a, b) => Math.max(a, b));
  const sum = shifted.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  const logSum = Math.fround(Math.log(sum));
  return shifted.map((logit) => Math.fround(logit - largest) - logSum);
}

/**
 * Return the probabilities of one step.
 * @param {ArrayLike<number>} logits [O].
 * @returns {Float32Array} [O].
 */
export function softmax(logits) {
  return logSoftmax(logits).map(Math.exp);
}
