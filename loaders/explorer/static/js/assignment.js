/**
 * The linear sum assignment problem, by shortest augmenting paths (Jonker and Volgenant, 1987; Crouse, 2016): O(N^3).
 *
 * Ties are broken as in scipy.optimize.linear_sum_assignment, so that equal scores give equal assignments.
 */

/** Prices, assignment so far, and the tree of shortest paths of the row that is being assigned. */
class Problem {
  /**
   * @param {Float64Array} costs [N*N], by row.
   * @param {number} size N.
   */
  constructor(costs, size) {
    this.costs = costs;
    this.size = size;
    this.rowPrices = new Float64Array(size);
    this.columnPrices = new Float64Array(size);
    this.rowOfColumn = new Int32Array(size).fill(-1);
    this.columnOfRow = new Int32Array(size).fill(-1);
    this.distances = new Float64Array(size); // of each column from the row that is being assigned
    this.previous = new Int32Array(size); // the row from which a column is reached
  }

  /**
   * Assign one more row; rows that have a column may get another one.
   * @param {number} row
   */
  assign(row) {
    const { rows, columns, sink, distance } = this.shortestPath(row);
    this.rowPrices[row] += distance;
    for (const other of rows) {
      if (other !== row) this.rowPrices[other] += distance - this.distances[this.columnOfRow[other]];
    }
    for (const column of columns) this.columnPrices[column] -= distance - this.distances[column];
    for (let column = sink, last = -1; last !== row;) {
      last = this.previous[column];
      this.rowOfColumn[column] = last;
      [this.columnOfRow[last], column] = [column, this.columnOfRow[last]];
    }
  }

  /**
   * Find the nearest column without a row.
   * @param {number} start Row.
   * @returns {{rows: number[], columns: number[], sink: number, distance: number}} Rows and columns on the way.
   */
  shortestPath(start) {
    // From the last to the first: the assignment of equal scores is then the identity.
    const remaining = Array.from({ length: this.size }, (_, index) => this.size - 1 - index);
    this.distances.fill(Infinity);
    /** @type {number[]} */
    const rows = [];
    /** @type {number[]} */
    const columns = [];
    for (let row = start, distance = 0; ;) {
      rows.push(row);
      const index = this.nearest(row, distance, remaining);
      const column = remaining[index];
      distance = this.distances[column];
      columns.push(column);
      const taken = this.rowOfColumn[column];
      if (taken < 0) return { rows, columns, sink: column, distance };
      row = taken;
      remaining[index] = remaining[remaining.length - 1];
      remaining.pop();
    }
  }

  /**
   * Shorten the distances of the remaining columns by paths through a row.
   * @param {number} row
   * @param {number} distance Distance of this row.
   * @param {number[]} remaining
   * @returns {number} Where in `remaining` the nearest column is; of several, the last one without a row.
   */
  nearest(row, distance, remaining) {
    let lowest = Infinity;
    let best = 0;
    for (let index = 0; index < remaining.length; index++) {
      const column = remaining[index];
      const through = distance + this.costs[row * this.size + column] - this.rowPrices[row] - this.columnPrices[column];
      if (through < this.distances[column]) {
        this.previous[column] = row;
        this.distances[column] = through;
      }
      const found = this.distances[column];
      if (found < lowest || (found === lowest && this.rowOfColumn[column] < 0)) {
        lowest = found;
        best = index;
      }
    }
    return best;
  }
}

/**
 * Return the assignment of columns to rows with the largest sum of scores; throw RangeError if a score is not finite.
 * @param {Float64Array} scores [N*N], by row.
 * @param {number} size N.
 * @returns {Int32Array} Column of each row [N].
 */
export function bestAssignment(scores, size) {
  if (!scores.every(Number.isFinite)) throw new RangeError("Scores are not finite: there is no best assignment.");
  const problem = new Problem(
    scores.map((score) => -score),
    size,
  );
  for (let row = 0; row < size; row++) problem.assign(row);
  return problem.columnOfRow;
}
