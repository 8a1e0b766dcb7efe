/** Deterministic finite automata: their text in the index of a zoo, and running them. */

import { randomBits, toIntegers } from "explorer/philox";

/**
 * A complete automaton with n states, of which 0 is the start, and k symbols.
 *
 * `transitions` [n][k] has the state that follows a state when a symbol is read; `accepting` [n] tells whether a string
 * that ends in a state is accepted.
 * @typedef {{transitions: number[][], accepting: boolean[]}} Automaton
 */

/** Symbols of the random strings that networks are trained on. */
export const LENGTH = 40;

/**
 * Return the numbers of a text.
 * @param {string} text Separated by white space.
 * @param {number} limit All numbers must be below this; others throw RangeError.
 * @returns {number[]}
 */
function stateNumbers(text, limit) {
  const numbers = text.split(/\s+/).filter(Boolean).map(Number);
  if (!numbers.every((number) => Number.isInteger(number) && number >= 0 && number < limit)) {
    throw new RangeError(`The states are "${text}"; expected numbers from 0 to ${limit - 1}.`);
  }
  return numbers;
}

/**
 * Return the automaton of a row of the index; throw RangeError for a text that is none.
 * @param {{transitions: string, accepting: string}} row Per state, separated by `|`, the next state for each symbol;
 *   and the states that accept.
 * @returns {Automaton}
 */
export function parseAutomaton(row) {
  const texts = row.transitions.split("|");
  const transitions = texts.map((text) => stateNumbers(text, texts.length));
  if (transitions.some((next) => next.length === 0 || next.length !== transitions[0].length)) {
    throw new RangeError(`The transitions are "${row.transitions}"; expected the same number of states in each part.`);
  }
  const states = stateNumbers(row.accepting, transitions.length);
  return { transitions, accepting: transitions.map((_, state) => states.includes(state)) };
}

/**
 * Return the symbols of a typed text; whatever else it has, such as spaces, is left out.
 * @param {string} text
 * @param {number} known Number of symbols, at most 10.
 * @returns {number[]}
 */
export function symbolsOf(text, known) {
  const digits = [...text].filter((letter) => letter >= "0" && letter <= "9"); // Number(" ") is 0
  return digits.map(Number).filter((symbol) => symbol < known);
}

/**
 * Return the states after each symbol of a string.
 * @param {Automaton} automaton
 * @param {ArrayLike<number>} symbols [T].
 * @returns {Uint8Array} States [T].
 */
export function walk(automaton, symbols) {
  let state = 0;
  return Uint8Array.from(symbols, (symbol) => {
    state = automaton.transitions[state][symbol];
    if (state === undefined) throw new RangeError(`The automaton has no symbol ${symbol}.`);
    return state;
  });
}

/**
 * Return whether each beginning of a string is accepted; the empty one is left out.
 * @param {Automaton} automaton
 * @param {ArrayLike<number>} symbols [T].
 * @returns {boolean[]} [T].
 */
export function answers(automaton, symbols) {
  return Array.from(walk(automaton, symbols), (state) => automaton.accepting[state]);
}

/**
 * Return random strings of an automaton's symbols; those of `Purpose.ROLLOUTS` and counter 0 are the stored rollouts.
 * @param {Automaton} automaton
 * @param {{seed: bigint | number, run: number, purpose: number, counter: number}} stream As in `randomBits`.
 * @param {number} count N.
 * @param {number} [length] T.
 * @returns {Uint32Array[]} N strings [T].
 */
export function randomStrings(automaton, { seed, run, purpose, counter }, count, length = LENGTH) {
  const bits = randomBits(seed, run, purpose, counter, count * length);
  const symbols = toIntegers(bits, automaton.transitions[0].length);
  return Array.from({ length: count }, (_, string) => symbols.subarray(string * length, (string + 1) * length));
}
