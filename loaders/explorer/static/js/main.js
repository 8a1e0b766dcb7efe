/**
 * The explorer's page: reads its data and builds its parts.
 */

import { byId, nextTask } from "explorer/dom";
import { Dataset, readEntry } from "explorer/dataset";
import { buildFilters } from "explorer/filters";
import { buildMap, readMaps } from "explorer/map";
import { buildHistory, buildLabels, describeZoo } from "explorer/overview";
import { Panels } from "explorer/panel";
import { State } from "explorer/state";
import { buildTasks } from "explorer/tasks";
import { Weights } from "explorer/weights";

performance.mark("scripts loaded");
const zoo = await readEntry("zoo");
if (zoo === null) throw new Error("The page has no data.");
const data = new Dataset(zoo);
const state = new State(data);
describeZoo(data);
buildFilters(state);
if (data.rows > 0) {
  buildHistory(state);
  performance.mark("first picture");
  await nextTask();
  buildTasks(state);
  buildLabels(state);
  const [networks, maps, digits] = await Promise.all(["networks", "maps", "digits"].map(readEntry));
  const weights = new Weights(data, networks);
  buildMap(state, readMaps(maps), weights);
  const panels = new Panels(state, weights, digits);
  const [run] = weights.runs;
  if (run !== undefined) panels.lookAt(run);
  else await panels.update();
} else byId("empty").hidden = false;
document.body.dataset.ready = "yes";
performance.mark("ready");
