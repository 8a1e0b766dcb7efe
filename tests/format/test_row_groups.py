"""Row groups of parquet files are bounded by bytes, and those of real zoos are as they were."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ZOOS

from rnn_zoos.families.registry import task_family
from rnn_zoos.format import index
from rnn_zoos.format.index import index_schema, read_index, write_index
from rnn_zoos.generation.publishing import parquet
from rnn_zoos.generation.publishing.parquet import data_files
from rnn_zoos.loaders.zoo import open_zoo


@pytest.mark.parametrize("name", ZOOS)
def test_an_index_has_groups_of_as_many_rows_as_before(name):
    assert index._group_rows(index_schema(task_family(name).columns)) == 100_000


def test_a_group_of_an_index_with_many_columns_has_at_most_64_mib():
    rows = index._group_rows(pa.schema([pa.field(f"x{number}", pa.float64()) for number in range(1000)]))
    assert rows * 8000 <= 64 * 2**20 < (rows + 1) * 8000


@pytest.mark.parametrize("lengths", [[41], [5, 0, 20, 16], [7] * 5 + [6]])
def test_the_groups_of_a_wide_index_have_fewer_rows_however_its_rows_are_divided(lengths, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "_MAX_GROUP_BYTES", 17 * (8 + 64 + 0.125))
    schema = pa.schema([pa.field("x", pa.float64()), pa.field("name", pa.string()), pa.field("flag", pa.bool_())])
    values = np.arange(41.0)
    table = pa.table({"x": values, "name": [str(v) for v in values], "flag": values > 5}, schema=schema)
    ends = np.cumsum(lengths)
    write_index(tmp_path / "a", (table.slice(end - n, n) for n, end in zip(lengths, ends, strict=True)), schema)
    groups = pq.read_metadata(tmp_path / "a")
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [17, 17, 7]
    assert read_index(tmp_path / "a").equals(table)


def test_data_files_of_large_networks_have_groups_of_few_rows(zoo, monkeypatch):
    ours = open_zoo(zoo("formal-languages"))
    row = 4 * ours.manifest.architecture.num_parameters
    for bound, rows in ((5 * row + 1, 5), (row - 1, 1)):
        monkeypatch.setattr(parquet, "_MAX_GROUP_BYTES", bound)
        (_, data), *_ = data_files(ours, "train")
        groups = pq.read_metadata(pa.BufferReader(data))
        assert {groups.row_group(n).num_rows for n in range(groups.num_row_groups - 1)} == {rows}
