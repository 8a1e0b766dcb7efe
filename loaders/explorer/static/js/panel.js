/**
 * The networks that are looked at, A and B, side by side: their labels, history, weights, and how they run.
 */

import { byId, chooser, element, fill, labelled, nextTask, plain, readable } from "explorer/dom";
import { axis, draw } from "explorer/plots";
import { LIVE } from "explorer/live";
import { Network } from "explorer/network";
import { align, applySignedPermutation, canonicalForm } from "explorer/symmetry";
import { weightView } from "explorer/weight_view";

/** @typedef {import("explorer/state").State} State */
/** @typedef {import("explorer/weights").Weights} Weights */
/** @typedef {import("explorer/weights").Tensors} Tensors */
/** @typedef {{row: number, tensors: Tensors, network: Network, note: string}} Loaded */

/** The two networks and what is shown of them. */
export class Panels {
  /**
   * @param {State} state
   * @param {Weights} weights
   * @param {import("explorer/dataset").Entry | null} digits
   */
  constructor(state, weights, digits) {
    this.state = state;
    this.weights = weights;
    /** @type {[Loaded | null, Loaded | null]} */
    this.loaded = [null, null];
    this.options = { sort: false, align: true, weights: false };
    /** Increased with every change, so that weights that arrive late are dropped. */
    this.version = 0;
    this.live = new LIVE[state.data.head.view.live](state.data.head, () => this.showLive(), digits);
    fill(byId("live-controls"), ...this.live.controls());
    this.#buildOptions();
    for (const place of /** @type {const} */ ([0, 1])) this.#buildChoice(place);
    state.listen((change) => change === "networks" && this.update());
  }

  #buildOptions() {
    const tick = (/** @type {"sort" | "align" | "weights"} */ name, /** @type {string} */ text) => {
      const box = element("input", { type: "checkbox", checked: this.options[name], id: `option-${name}` });
      box.addEventListener("change", () => {
        this.options[name] = box.checked;
        this.update();
      });
      return element("label", { class: "tick" }, box, text);
    };
    fill(
      byId("options"),
      tick("weights", "show weights"),
      tick("sort", "sort units by the canonical form"),
      tick("align", "align B to A by a signed permutation"),
    );
  }

  /**
   * Fields to choose the run and step of one network.
   * @param {0 | 1} place
   */
  #buildChoice(place) {
    const { state, weights } = this;
    const name = "AB"[place];
    const runs = weights.runs;
    const list = element(
      "datalist",
      { id: `runs-${place}` },
      ...runs.slice(0, 2000).map((run) => element("option", { value: String(run) })),
    );
    const run = element("input", { type: "number", min: 0, id: `run-${place}` });
    run.setAttribute("list", list.id);
    run.addEventListener("change", () => {
      const known = state.data.runs.get(Number(run.value));
      if (run.value === "" || known === undefined)
        return this.#say(place, run.value === "" ? "" : `This page has no run ${run.value}.`);
      state.look(place, { run: Number(run.value), step: this.#bestStep(Number(run.value)) });
    });
    const next = element("button", { type: "button", on: { click: () => this.#lookAtNext(place) } }, "next");
    next.setAttribute("aria-label", `next network as ${name}`);
    const clear = element("button", { type: "button", on: { click: () => state.look(place, null) } }, "none");
    clear.setAttribute("aria-label", `no network as ${name}`);
    fill(
      byId(`choice-${place}`),
      labelled(`run of ${name}`, run),
      list,
      element("span", { id: `step-of-${place}` }),
      next,
      clear,
    );
  }

  /** @param {number} run to look at as network A */
  lookAt(run) {
    this.state.look(0, { run, step: this.#bestStep(run) });
  }

  /** @param {number} run its latest step whose network can run, else its latest */
  #bestStep(run) {
    const rows = this.state.data.runs.get(run) ?? [];
    const able = rows.filter((row) => this.weights.has(row));
    const best = able.length ? able[able.length - 1] : rows[rows.length - 1];
    return this.state.data.step[best];
  }

  /** @param {0 | 1} place */
  #lookAtNext(place) {
    const { runs } = this.weights;
    const { selected } = this.state;
    const other = this.state.networks[1 - place]?.run;
    const wanted = runs.filter((run) => run !== other && (selected === null || selected.has(run)));
    const able = wanted.length ? wanted : runs;
    const from = able.length ? able : [...this.state.data.runs.keys()]; // whose labels are shown, at least
    const now = this.state.networks[place];
    const run = from[(from.indexOf(now === null ? -1 : now.run) + 1) % from.length];
    this.state.look(place, { run, step: this.#bestStep(run) });
  }

  /**
   * @param {0 | 1} place
   * @param {string} text
   */
  #say(place, text) {
    byId(`note-${place}`).textContent = text;
  }

  /** Load what is looked at and show it. */
  async update() {
    const version = ++this.version;
    for (const place of /** @type {const} */ ([0, 1])) {
      const loaded = await this.#load(place);
      if (version !== this.version) return;
      this.loaded[place] = loaded;
    }
    this.showLive();
    await nextTask(); // what the network does is seen before its history is drawn
    if (version !== this.version) return;
    for (const place of /** @type {const} */ ([0, 1])) this.#showPanel(place);
  }

  /**
   * @param {0 | 1} place
   * @returns {Promise<Loaded | null>}
   */
  async #load(place) {
    const { data, networks } = this.state;
    const looked = networks[place];
    const row = looked === null ? null : data.rowAt(looked.run, looked.step);
    this.#say(place, "");
    if (row === null) return null;
    if (!this.weights.has(row)) {
      this.#say(
        place,
        "Its weights are not inside this page. `rnn-zoos explore ZOO --serve` shows all networks live; `--networks N` puts more of them inside.",
      );
      return null;
    }
    const architecture = data.architecture(row);
    let tensors;
    try {
      tensors = await this.weights.tensors(row);
    } catch (error) {
      this.#say(place, error instanceof Error ? error.message : String(error));
      return null;
    }
    let note = "";
    if (this.options.sort) ({ tensors } = canonicalForm(architecture, tensors));
    const first = this.loaded[0];
    if (place === 1 && this.options.align && first !== null) {
      if (data.architecture(first.row).name === architecture.name) {
        tensors = applySignedPermutation(architecture, tensors, align(architecture, first.tensors, tensors));
        note = "Its units are in the order, and with the signs, that fit those of A best.";
      } else note = "A has another architecture, so that their units cannot be aligned.";
    }
    return { row, tensors, network: new Network(architecture, tensors), note };
  }

  /** @param {0 | 1} place */
  #showPanel(place) {
    const { data, networks } = this.state;
    const looked = networks[place];
    byId(`run-${place}`).value = looked === null ? "" : String(looked.run);
    const row = looked === null ? null : data.rowAt(looked.run, looked.step);
    byId(`panel-${place}`).classList.toggle("empty", row === null);
    if (looked === null || row === null) {
      for (const part of ["step-of", "labels", "weights", "live"]) fill(byId(`${part}-${place}`));
      if (looked === null)
        this.#say(
          place,
          place === 0 ? "Choose a network." : "Choose a network to compare with A, here or among those nearest to it.",
        );
      byId(`history-${place}`).hidden = true;
      return;
    }
    const steps = (data.runs.get(looked.run) ?? []).map((own) => data.step[own]);
    const choice = chooser(
      steps.map((step) => [String(step), readable(step)]),
      String(data.step[row]),
      (step) => this.state.look(place, { run: looked.run, step: Number(step) }),
    );
    fill(byId(`step-of-${place}`), labelled("step", choice));
    fill(byId(`labels-${place}`), ...labelRows(this.state, row));
    this.#showHistory(place, looked.run, row);
    const loaded = this.loaded[place];
    if (loaded !== null && loaded.note) this.#say(place, loaded.note);
    fill(
      byId(`weights-${place}`),
      ...(loaded !== null && this.options.weights ? weightView(data.architecture(row), loaded.tensors) : []),
    );
  }

  /**
   * @param {0 | 1} place
   * @param {number} run
   * @param {number} row
   */
  #showHistory(place, run, row) {
    const { data } = this.state;
    const node = byId(`history-${place}`);
    node.hidden = false;
    const label = data.column(data.mainLabel);
    const rows = data.runs.get(run) ?? [];
    const x = rows.map((own) => data.steps.indexOf(data.step[own]));
    const line = {
      mode: "lines+markers",
      x,
      y: rows.map((own) => label.values[own]),
      line: { color: "#4477aa" },
      hovertemplate: "%{y:.4g}<extra></extra>",
      showlegend: false,
    };
    const now = {
      mode: "markers",
      x: [data.steps.indexOf(data.step[row])],
      y: [label.values[row]],
      marker: { size: 12, color: "rgba(0,0,0,0)", line: { width: 2.5, color: "#111111" } },
      hoverinfo: "skip",
      showlegend: false,
    };
    const ticks = { tickvals: x, ticktext: rows.map((own) => data.step[own].toLocaleString("en")) };
    draw(node, `${label.name} of run ${run} against training step`, [line, now], {
      xaxis: axis("", ticks),
      yaxis: axis(plain(label.name)),
      margin: { l: 50, r: 10, t: 8, b: 40 },
      dragmode: false,
    });
  }

  /** Run both networks on the input that is given, and show what they do. */
  showLive() {
    for (const place of /** @type {const} */ ([0, 1])) {
      const loaded = this.loaded[place];
      const node = byId(`live-${place}`);
      if (loaded === null) fill(node);
      else this.live.show(node, loaded.network, this.state.data, loaded.row);
    }
  }
}

/**
 * The columns of a row as a list.
 * @param {State} state
 * @param {number} row
 */
function labelRows(state, row) {
  const hidden = new Set(["run", "step", "shard", "row"]);
  return [...state.data.columns.values()]
    .filter((column) => !hidden.has(column.name))
    .flatMap((column) => [
      element("dt", { title: column.description }, column.name.replaceAll("_", " ")),
      element(
        "dd",
        {},
        column.text(row, readable) + (column.unit && column.kind === "number" ? ` ${column.unit}` : ""),
      ),
    ]);
}
