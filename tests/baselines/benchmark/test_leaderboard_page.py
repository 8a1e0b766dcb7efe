"""The leaderboard of the explorer's page: its data, and the page in a browser."""

import json
import statistics

import numpy as np
import pytest
from explorer_tools import AXE, axe_violations, npm_package
from synthetic_results import DIGITS, LANGUAGES, MANY, many_results

from rnn_zoos.baselines.benchmark.leaderboard_page import leaderboard_data
from rnn_zoos.baselines.downstream.controls import CONTROLS
from rnn_zoos.errors import FormatError
from rnn_zoos.loaders.explorer.maps import MapFeatures
from rnn_zoos.loaders.explorer.page import build_page
from rnn_zoos.loaders.zoo import open_zoo


@pytest.fixture(scope="module")
def data() -> dict:
    return leaderboard_data(many_results(LANGUAGES) + many_results(DIGITS), LANGUAGES, {"dws": "dws.0"})


def test_rows_have_means_over_seeds_with_intervals(data):
    seeds = [result for result in many_results(LANGUAGES) if result.get("encoder") == "dws"]
    rows = {row["name"]: row for row in data["rows"]}
    assert len(rows) == len(MANY) + len(CONTROLS)
    dws = rows["dws"]
    value, low, high = dws["cells"]["test"]
    losses = [result["emulation"]["test"]["total_variation"] for result in seeds]
    assert abs(value - statistics.mean(losses)) < 1e-4 and low < value < high
    assert dws["cells"]["queries"][0] == seeds[0]["queries"] and dws["seeds"] == len(seeds) and dws["map"] == "dws.0"
    expected = [
        statistics.mean(own) for own in zip(*([e["seconds"] for e in r["history"]] for r in seeds), strict=True)
    ]
    assert dws["curve"]["seconds"] == pytest.approx(expected)
    kinds = [row["kind"] for row in data["rows"]]
    assert kinds == sorted(kinds, key=["encoder", "reference", "control"].index)
    control = next(row for row in data["rows"] if row["kind"] == "control")
    assert "test" not in control["cells"] and any(key.startswith("target") for key in control["cells"])
    assert control["map"] is None and control["curve"] == {}
    json.dumps(data)


def test_results_of_a_transfer_say_so(data):
    assert data["notes"] == []
    transferred = [{**result, "transfer": "cells"} for result in many_results(LANGUAGES)]
    (note,) = leaderboard_data(transferred, LANGUAGES, {})["notes"]
    assert note == "Results of a transfer: trained on cell lstm; tested on cell gru or rnn, too."


def test_a_zoo_without_results_is_an_error():
    with pytest.raises(FormatError, match="no result of the zoo automata. Give --results the results of this zoo"):
        leaderboard_data(many_results(LANGUAGES), "automata", {})


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 380])
def test_the_page_sorts_filters_and_links_to_maps(width, data, browser, zoo, tmp_path):
    opened = open_zoo(zoo(LANGUAGES))
    values = np.random.default_rng(0).normal(size=(len(opened.index()), 5))
    maps = [MapFeatures("other", "other", values[:, :2]), MapFeatures("dws.0", "embeddings by dws, seed 0", values)]
    build_page(opened, 3, maps, data | {"notes": ["Of <another> zoo."]}).write(tmp_path / "page")
    browser.open((tmp_path / "page" / "leaderboard.html").as_uri(), width)
    assert browser.text("#notes") == "Of <another> zoo."
    names = "return [...document.querySelectorAll('#board tbody th')].map((own) => own.firstChild.textContent)"
    losses = {row["name"]: row["cells"].get("test", [9.0])[0] for row in data["rows"]}
    assert browser.run(names) == sorted(losses, key=lambda name: losses[name])
    best = min(data["rows"], key=lambda row: losses[row["name"]])["cells"]
    cells = browser.run(
        "return [...document.querySelectorAll('#board tbody tr')[0].cells].map((own) => own.textContent)"
    )
    assert cells[1] == "{:.4f} [{:.4f}, {:.4f}]".format(*best["test"]) and cells[4] == f"{best['parameters'][0]:,.0f}"
    assert axe_violations(browser, npm_package("axe-core", AXE) / "axe.min.js") == []
    header = "[data-key='target accuracy']"
    browser.run("arguments[0].click()", browser.find(header))
    assert browser.find("th[aria-sort=descending]").text.startswith("accuracy")
    scores = {row["name"]: row["cells"].get("target accuracy", [-9])[0] for row in data["rows"]}
    shown = [scores[name] for name in browser.run(names)]
    assert shown == sorted(shown, reverse=True)
    browser.run("arguments[0].click()", browser.find(header))
    assert browser.find("th[aria-sort=ascending]").text.startswith("accuracy")
    for box in browser.all("#kinds input")[1:]:
        box.click()
    assert sorted(browser.run(names)) == sorted(row["name"] for row in data["rows"] if row["kind"] == "encoder")
    assert all(browser.all(f"#{picture} .main-svg") for picture in ("updates", "seconds", "queries"))
    browser.run("arguments[0].click()", browser.find("#board a"))
    browser.wait(
        lambda: browser.run(
            "return document.body.dataset.ready === 'yes' && document.querySelector('#map-choice') !== null"
        )
    )
    assert browser.find("#map-choice").get_attribute("value") == "dws.0"
    assert browser.find("a[href='leaderboard.html']").text == "Leaderboard"
    assert browser.messages() == []
