"""Work in slices: what is done stays done, nothing begins that would not end in time, failures do not end the work."""

import json

import pytest

from rnn_zoos.errors import FormatError, PlanMismatchError
from rnn_zoos.generation.measuring.gpu_work import Clock, State, Step, Unit, work_through


def step(name: str, *units: Unit) -> Step:
    return Step(name, "", lambda: iter(units))


@pytest.fixture
def done() -> list[str]:
    return []


@pytest.fixture
def unit(done):
    def make(name: str, rows=(), expected: float = 0.0, **more) -> Unit:
        def work():
            done.append(name)
            return rows if rows is None else list(rows)

        return Unit(name, work, expected, **more)

    return make


def test_a_second_call_continues_and_a_third_has_nothing_to_do(tmp_path, unit, done):
    # One step has three units: the second does not fit into what is left of the first call.
    first, second = Clock(60), Clock(60)
    first._end -= 50
    steps = [step("a", unit("1", [{"right": True}]), unit("2", expected=20), unit("3")), step("b", unit("4"))]
    assert work_through(steps, State.open(tmp_path, {"runs": 3}), first, str) == {"a": "2", "b": ""}
    assert done == ["1"]
    assert work_through(steps, State.open(tmp_path, {"runs": 3}), second, str) == {}
    assert done == ["1", "2", "3", "4"]
    state = State.open(tmp_path, {"runs": 3})
    assert work_through(steps, state, Clock(60), str) == {} and len(done) == 4
    assert state.rows("a") == [{"right": True}]
    assert json.loads(state.path.read_text())["results"]["a"]["1"]["rows"] == [{"right": True}]
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_work_that_stopped_in_time_is_offered_again(tmp_path, unit, done):
    state = State.open(tmp_path, {})
    assert work_through([step("a", unit("1", None))], state, Clock(60), str) == {"a": "1"}
    assert work_through([step("a", unit("1", [{}]))], state, Clock(60), str) == {} and done == ["1", "1"]


def test_a_unit_that_is_longer_than_a_call_does_not_keep_later_steps_from_being_done(tmp_path, unit, done):
    shown = []
    steps = [step("a", unit("long", expected=90)), step("b", unit("short"))]
    assert work_through(steps, State.open(tmp_path, {}), Clock(60), shown.append) == {"a": "long"}
    assert done == ["short"] and "a: long takes about 1.5 minutes: give more --minutes." in shown


def test_failures_are_rows_which_are_only_repeated_on_request(tmp_path, unit, done):
    def fail():
        done.append("failing")
        raise RuntimeError("too little memory")

    steps = [step("a", Unit("failing", fail), unit("2"))]
    state = State.open(tmp_path, {})
    assert work_through(steps, state, Clock(600), str) == {} and done == ["failing", "2"]
    assert state.rows("a") == [{"failed": "RuntimeError: too little memory"}]
    work_through(steps, state, Clock(600), str)
    assert len(done) == 2
    state.forget_failures()
    work_through(steps, state, Clock(600), str)
    assert done == ["failing", "2", "failing"]


def test_units_with_records_of_their_own_are_done_whenever_they_are_offered(tmp_path, unit, done):
    state = State.open(tmp_path, {})
    for _ in range(2):
        work_through([step("a", unit("1", keeps_record=True))], state, Clock(600), str)
    assert done == ["1", "1"]


def test_other_options_need_another_directory(tmp_path):
    State.open(tmp_path, {"runs": 3, "device": "cpu"}).add("a", "1", [], 0)
    with pytest.raises(PlanMismatchError, match="was started with another runs. Give the same options, or another"):
        State.open(tmp_path, {"runs": 4, "device": "cpu"})


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"about": {}, "machines": {}, "results": {}}', '"text"'])
def test_a_file_that_is_not_a_state_is_refused_and_kept(tmp_path, content):
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(FormatError, match="state.json is not a state that this command wrote"):
        State.open(tmp_path, {})
    assert (tmp_path / "state.json").read_text() == content
