/**
 * Networks that answer like an automaton: the answer after every symbol, beside the automaton's own and its state.
 */

import { element, fill, labelled, readable, stringField } from "explorer/dom";
import { LENGTH, answers, parseAutomaton, randomStrings, symbolsOf, walk } from "explorer/automata";
import { automatonGraph } from "explorer/automaton_graph";
import { heatmap, hiddenHeatmaps } from "explorer/heatmap";
import { probabilities, stepWidth } from "explorer/live_reading";
import { Purpose } from "explorer/philox";

/** @typedef {import("explorer/network").Network} Network */
/** @typedef {import("explorer/dataset").Dataset} Dataset */

const LONGEST = 160;

/** The view of automata. */
export class LiveAutomaton {
  /**
   * @param {any} head of the page's data
   * @param {() => void} refresh
   */
  constructor(head, refresh) {
    this.head = head;
    this.text = stringField("beginning", "0110101001", LONGEST, () => {
      this.#readAll();
      refresh();
    });
    this.position = element("input", { type: "range", min: 0, max: 10, value: 10, step: 1, id: "position" });
    this.refresh = refresh;
    /** @type {(() => string) | null} makes another random string of the automaton that was shown last */
    this.another = null;
    this.drawn = 0;
    this.position.addEventListener("input", refresh);
  }

  /** Let the slider end, and stand, at the last symbol that a network of any automaton reads. */
  #readAll() {
    this.position.max = String(symbolsOf(this.text.value, 10).length); // before the value, which it limits
    this.position.value = this.position.max;
  }

  controls() {
    const draw = () => {
      if (this.another === null) return;
      this.text.value = this.another();
      this.#readAll();
      this.refresh();
    };
    return [
      labelled("string (symbols 0 to 3)", this.text),
      element("button", { type: "button", id: "another", on: { click: draw } }, "another random string"),
      labelled("symbols read", this.position),
    ];
  }

  /**
   * @param {HTMLElement} node
   * @param {Network} network
   * @param {Dataset} data
   * @param {number} row
   */
  show(node, network, data, row) {
    const automaton = parseAutomaton({
      transitions: data.column("transitions").text(row, String),
      accepting: data.column("accepting").text(row, String),
    });
    const known = automaton.transitions[0].length;
    const symbols = symbolsOf(this.text.value, known);
    this.another = () => {
      const place = {
        seed: BigInt(this.head.seed),
        run: data.run[row],
        purpose: Purpose.ROLLOUTS,
        counter: this.drawn++,
      };
      return Array.from(randomStrings(automaton, place, 1)[0]).join("");
    };
    if (symbols.length === 0)
      return fill(node, element("p", { class: "note" }, `Type a string of the symbols 0 to ${known - 1}.`));
    const read = Math.min(Number(this.position.value), symbols.length);
    const states = walk(automaton, symbols);
    const right = answers(automaton, symbols);
    const run = network.runSymbols(symbols);
    const accepted = probabilities(network, run).filter((_, place) => place % 2 === 1);
    const agreed = symbols.filter((_, t) => accepted[t] > 0.5 === Boolean(right[t])).length;
    const now = read === 0 ? 0 : states[read - 1];
    const graph = automatonGraph(
      automaton.transitions.map((next) => Array.from(next)),
      Array.from(automaton.accepting, Boolean),
      now,
    );
    fill(
      node,
      element(
        "p",
        {},
        `${agreed} of ${symbols.length} answers are right. After ${read} symbols the automaton is in state ${now}${read ? `, and ${right[read - 1] ? "accepts" : "rejects"}; the network says accepted with probability ${readable(accepted[read - 1])}` : ""}.`,
      ),
      answerMap(symbols, accepted, right, states),
      graph,
      ...hiddenHeatmaps(run.hidden, network.architecture.hidden_size, symbols.map(String), stepWidth(symbols.length)),
    );
  }
}

/**
 * Probability that a prefix is accepted, by the network above and the automaton below.
 * @param {number[]} symbols
 * @param {ArrayLike<number>} accepted
 * @param {ArrayLike<number | boolean>} right
 * @param {ArrayLike<number>} states
 */
function answerMap(symbols, accepted, right, states) {
  const names = ["network", "automaton"];
  return heatmap({
    title: "accepted? (bright: yes) after each symbol read",
    values: [...Array.from(accepted), ...Array.from(right, Number)],
    rows: 2,
    columns: symbols.length,
    width: stepWidth(symbols.length),
    height: 18,
    across: symbols.map(String),
    down: names,
    rowName: (row) => names[row],
    columnName: (t) => `after ${symbols[t]} at step ${t + 1}, state ${states[t]}`,
  });
}
