/**
 * The bar of filters: which rows pictures show, at which step, in which colours, and how many runs are selected.
 */

import { byId, chooser, element, fill, labelled, readable } from "explorer/dom";
import { MOST_TEXTS } from "explorer/colours";

/** @typedef {import("explorer/state").State} State */

/**
 * Build the bar.
 * @param {State} state
 */
export function buildFilters(state) {
  const { data } = state;
  fill(
    byId("filters"),
    ...state.filterColumns.map((name) => group(state, name)),
    taskField(state),
    runsField(state),
    stepField(state),
    colourField(state),
  );
  const count = byId("count");
  const clear = byId("clear");
  clear.addEventListener("click", () => state.select(null));
  const say = () => {
    const rows = state.rowsAtStep().length;
    const chosen = state.selected === null ? "" : `, ${readable(state.selected.size)} selected`;
    count.textContent = `${readable(rows)} of ${readable(data.runs.size)} runs at step ${readable(state.step)}${chosen}`;
    clear.disabled = state.selected === null;
  };
  state.listen(say);
  say();
}

/**
 * Checkboxes for the values of a column.
 * @param {State} state
 * @param {string} name
 */
function group(state, name) {
  const boxes = state.filterValues(name).map((value) => {
    const box = element("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => state.setShown(name, value, box.checked));
    return element("label", { class: "tick" }, box, value);
  });
  return element("fieldset", {}, element("legend", {}, name.replaceAll("_", " ")), ...boxes);
}

/** @param {State} state */
function taskField(state) {
  const field = element("input", { type: "search", placeholder: "part of its name", size: 14 });
  field.addEventListener("input", () => state.setTask(field.value));
  return labelled("task", field);
}

/**
 * Runs by their numbers: the same as brushing, for the keyboard.
 * @param {State} state
 */
function runsField(state) {
  const field = element("input", { type: "text", placeholder: "3, 17-20", size: 10, id: "select-runs" });
  field.addEventListener("input", () => field.setCustomValidity(""));
  field.addEventListener("change", () => {
    const runs = runsOf(state, field.value);
    if (field.value.trim() === "" || runs.length > 0) return state.select(runs.length > 0 ? runs : null);
    const last = Math.max(...state.data.runs.keys());
    field.setCustomValidity(`There is no such run here. Give numbers up to ${last}, such as 3, 17-20.`);
    field.reportValidity();
  });
  state.listen((change) => {
    if (change === "selection" && document.activeElement !== field) field.value = "";
  });
  return labelled("select runs", field);
}

/**
 * The runs of a text such as `3, 17-20`; what is no number is left out.
 * @param {State} state
 * @param {string} text
 */
function runsOf(state, text) {
  const ranges = [...text.matchAll(/(\d+)(?:\s*-\s*(\d+))?/g)].map(([, from, to]) => [
    Number(from),
    Number(to ?? from),
  ]);
  return [...state.data.runs.keys()].filter((run) => ranges.some(([from, to]) => run >= from && run <= to));
}

/** @param {State} state */
function stepField(state) {
  const { steps } = state.data;
  const shown = element("output", {}, readable(state.step));
  const slider = element("input", { type: "range", min: 0, max: steps.length - 1, step: 1, id: "step" });
  slider.value = String(steps.indexOf(state.step));
  const tell = () => {
    shown.textContent = readable(state.step);
    slider.setAttribute("aria-valuetext", `step ${state.step}`);
  };
  slider.addEventListener("input", () => {
    state.setStep(steps[Number(slider.value)]);
    tell();
  });
  tell();
  return element("label", { class: "field" }, element("span", {}, "step ", shown), slider);
}

/** @param {State} state */
function colourField(state) {
  const usable = [...state.data.columns.values()].filter((column) =>
    column.kind === "number" ? !["shard", "row"].includes(column.name) : column.texts.length <= MOST_TEXTS,
  );
  const options = usable.map(
    (column) => /** @type {[string, string]} */ ([column.name, column.name.replaceAll("_", " ")]),
  );
  const made = chooser(options, state.colour, (name) => state.setColour(name));
  made.id = "colour";
  return labelled("colour by", made);
}
