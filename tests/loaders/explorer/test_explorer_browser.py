"""The explorer's page in a real browser: pictures, filters, selections, live networks, at two widths."""

import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from damage import edit_index
from selenium.webdriver.common.keys import Keys

from rnn_zoos.baselines.emulation.zoo_maps import zoo_maps
from rnn_zoos.families.automaton import LENGTH as AUTOMATON_LENGTH
from rnn_zoos.families.digit_inputs import tile_inputs
from rnn_zoos.families.digits import load_digits
from rnn_zoos.families.language_strings import BOS
from rnn_zoos.families.named_automata import automaton_of
from rnn_zoos.families.rotation import rotation_table
from rnn_zoos.families.sampler import one_hot
from rnn_zoos.loaders.explorer.maps import principal_components
from rnn_zoos.loaders.explorer.page import build_page
from rnn_zoos.loaders.model import load_model
from rnn_zoos.loaders.views.sample import sample_network
from rnn_zoos.loaders.zoo import open_zoo

pytestmark = pytest.mark.slow
WIDTHS = (1400, 380)
ZOOS = ("formal-languages", "sequential-mnist", "automata")


def url_of(page, name="index.html"):
    return (page / name).as_uri()


def look_at(browser, place, run, step):
    """Choose a network by typing its run and choosing its step; wait until it is shown."""
    browser.type(f"#run-{place}", str(run))
    browser.wait(lambda: browser.all(f"#step-of-{place} select"))
    browser.choose(f"#step-of-{place} select", str(step))
    browser.wait(lambda: browser.all(f"#live-{place} canvas"))


def inside(page):
    """Return run and step of the networks whose weights are inside a page."""
    text = (page / "data/networks.js").read_text()
    rows = json.loads(re.search(r'"rows":(\[.*?\])', text)[1])
    return rows


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ZOOS)
def test_a_page_opens_from_disk_without_errors_and_asks_no_other_host(name, width, browser, page_of):
    browser.open(url_of(page_of(name)), width)
    assert browser.text("#title") == name
    for picture in ("history", "tasks", "labels", "map"):
        assert browser.all(f"#{picture} .main-svg"), picture
    assert browser.messages() == []
    assert {request["url"].partition(":")[0] for request in browser.requests()} <= {"file", "data", "blob"}
    assert browser.run("return document.documentElement.scrollWidth") <= width  # nothing is cut off or scrolled to


def test_a_page_of_a_published_zoo_links_to_its_dataset_and_asks_nothing_of_it(browser, page_of, zoo, tmp_path):
    build_page(open_zoo(zoo("formal-languages")), 1, dataset="me/a.zoo_1").write(tmp_path / "page")
    browser.open(url_of(tmp_path / "page"))
    link = browser.find("#dataset")
    assert link.is_displayed() and link.get_attribute("href") == "https://huggingface.co/datasets/me/a.zoo_1"
    assert link.get_attribute("target") == "_blank" and link.get_attribute("rel") == "noopener"
    assert browser.messages() == []
    assert {request["url"].partition(":")[0] for request in browser.requests()} <= {"file", "data", "blob"}
    browser.open(url_of(page_of("formal-languages")))
    assert not browser.find("#dataset").is_displayed()


@pytest.mark.parametrize("width", WIDTHS)
def test_filters_leave_rows_out_of_all_pictures(width, browser, page_of, zoo):
    index = open_zoo(zoo("formal-languages")).index().to_pandas()
    browser.open(url_of(page_of("formal-languages")), width)
    runs = index["run"].nunique()
    assert browser.text("#count") == f"{runs} of {runs} runs at step 11"
    browser.find("#filters fieldset input").click()  # train
    left = index[index["split"] != "train"]["run"].nunique()
    assert browser.text("#count") == f"{left} of {runs} runs at step 11"
    legends = browser.run("return [...document.querySelectorAll('#history .legendtext')].map((own) => own.textContent)")
    assert legends and not any(text.startswith("train") for text in legends)
    browser.find("#filters fieldset input").click()
    task = index["task"].iloc[0]
    browser.find("#filters input[type=search]").send_keys(task.upper())
    assert browser.text("#count").startswith(f"{(index.groupby('run')['task'].first() == task).sum()} of")
    slider = browser.find("#step")
    slider.send_keys(Keys.HOME)
    assert browser.text("#count").endswith("at step 0") and slider.get_attribute("aria-valuetext") == "step 0"
    assert browser.messages() == []


def test_runs_are_selected_by_their_numbers_from_the_keyboard(browser, page_of):
    browser.open(url_of(page_of("formal-languages")))
    browser.type("#select-runs", "2, 4-5, x")
    assert browser.text("#count").endswith("3 selected")
    browser.type("#select-runs", "99999")
    said = browser.run("return document.querySelector('#select-runs').validationMessage")
    assert "There is no such run here" in said and browser.text("#count").endswith("3 selected")
    texts = browser.run(
        "return [...document.querySelectorAll('#tasks .points path')].map((own) => own.style.strokeWidth)"
    )
    assert texts.count("3px") == 3
    browser.find("#clear").click()
    assert browser.find("#select-runs").get_attribute("value") == "" and "selected" not in browser.text("#count")


def test_what_is_brushed_in_one_picture_is_highlighted_in_all(browser, page_of, zoo):
    index = open_zoo(zoo("formal-languages")).index().to_pandas()
    browser.open(url_of(page_of("formal-languages")))
    browser.choose("#history-controls select", "weight_norm")
    browser.run(
        "document.getElementById('history').on('plotly_selected', (e) => e?.range && (window.brushed = e.range))"
    )
    browser.drag("#history", (-0.38, -0.36), (0.0, 0.0))  # the upper left quarter
    chosen = browser.wait(lambda: re.search(r"(\d+) selected", browser.text("#count")))
    count, box, runs = int(chosen[1]), browser.run("return window.brushed"), index["run"].nunique()
    x = index["step"].map({step: place for place, step in enumerate(sorted(index["step"].unique()))})
    columns, lines = x.between(*box["x"]), index["weight_norm"].between(*box["y"])
    assert count == index[columns & lines]["run"].nunique()
    assert 0 < count < min(index[columns]["run"].nunique(), runs)  # the box leaves runs out by its height
    legends = browser.run("return [...document.querySelectorAll('#history .legendtext')].map((own) => own.textContent)")
    assert legends[0] == f"not selected ({runs - count})"
    points = browser.run(
        "return document.getElementById('map').data.filter((own) => own.mode === 'markers')"
        ".map((own) => [own.name === 'not selected', own.x.length])"
    )
    assert sum(number for grey, number in points if grey) == runs - count
    assert sum(number for grey, number in points if not grey) == count
    browser.find("#clear").click()
    assert "selected" not in browser.text("#count")
    browser.drag("#map", (-0.4, -0.4), (0.4, 0.4))  # a lasso along a line holds nothing, or what lies on it
    browser.drag("#tasks", (-0.4, -0.4), (0.4, 0.4))
    browser.wait(lambda: "selected" in browser.text("#count"))
    assert browser.messages() == []


def test_labels_of_very_different_sizes_are_shown_and_brushed_on_a_logarithmic_scale(
    browser, zoo, tmp_path, monkeypatch
):
    opened = open_zoo(zoo("formal-languages"))
    table = opened.index()
    norms = 10.0 ** (3.0 * table["run"].to_numpy() - 3)
    place = table.schema.get_field_index("weight_norm")
    monkeypatch.setattr(opened, "index", lambda: table.set_column(place, "weight_norm", pa.array(norms)))
    build_page(opened, 2).write(tmp_path / "page")
    browser.open(url_of(tmp_path / "page"))
    browser.choose("#history-controls select", "weight_norm")
    ticks = browser.run("return [...document.querySelectorAll('#history .ytick text')].map((own) => own.textContent)")
    powers = [f"10\u200b{power}\u200b" for power in (6, 9, 12, 15)]
    assert ticks == ["0.001", "1", "1,000", *powers], "one run at each"
    browser.drag("#history", (-0.38, -0.36), (0.4, -0.08))  # the upper half, with 10^9, 10^12 and 10^15
    chosen = browser.wait(lambda: re.search(r"(\d+) selected", browser.text("#count")))
    assert int(chosen[1]) == 3
    browser.choose("#colour", "weight_norm")
    marker = browser.run("return document.getElementById('tasks').data[0].marker")
    assert [marker["cmin"], marker["cmax"]] == pytest.approx([-3, 15]), "the ends do not follow the selection"
    assert sorted(marker["color"]) == pytest.approx([*range(-3, 16, 3)])
    assert marker["colorbar"]["ticktext"][:3] == ["0.001", "1", "1,000"] and browser.messages() == []


def test_angles_are_selected_on_their_wheel(browser, page_of, zoo):
    index = open_zoo(zoo("sequential-mnist")).index().to_pandas()
    browser.open(url_of(page_of("sequential-mnist")))
    browser.lasso(
        "#tasks", [(0, -130), (130, 20), (20, 110), (-30, 120), (-130, 20), (-110, -40), (-10, -130), (90, -90)]
    )
    selected = browser.wait(lambda: re.search(r"(\d+) selected", browser.text("#count")))
    assert int(selected[1]) == index["run"].nunique()  # it goes around all of them
    browser.find("#clear").click()
    assert browser.messages() == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_language_network_reads_and_writes_as_it_does_in_python(width, browser, page_of, zoo):
    directory = zoo("formal-languages")
    browser.open(url_of(page_of("formal-languages")), width)
    run = int(browser.find("#run-0").get_attribute("value"))
    step = int(browser.find("#step-of-0 select").get_attribute("value"))
    browser.type("#beginning", "aacb")
    model = load_model(directory, run, step)
    symbols = torch.tensor([[BOS, 0, 0, 2, 1]])
    expected = model(one_hot(symbols, 6)).softmax(dim=-1)[0]
    canvas = browser.find("#live-0 canvas")
    canvas.send_keys(*[Keys.ARROW_RIGHT] * 4, *[Keys.ARROW_DOWN] * 3)  # the cell of d after the last b
    reading = browser.text("#live-0 .reading")
    found = float(reading.rpartition(": ")[2])
    assert reading.startswith("d, after b at step 5") and abs(found - expected[4, 3].item()) < 1e-4
    written = browser.run("return [...document.querySelectorAll('#live-0 .strings li')].map((own) => own.textContent)")
    _, rows = sample_network(directory, run, step, 10)
    said = [
        f"{row['string']} right" if row["verdict"] == "right" else f"{row['string']} wrong: {row['fault']}"
        for row in rows
    ]
    assert written == said
    browser.type("#seed", "12345678901234567890")
    changed = browser.run("return [...document.querySelectorAll('#live-0 .strings li')].map((own) => own.textContent)")
    assert changed != written and len(changed) == 10
    browser.type("#seed", "x")
    assert "The seed is a whole number." in browser.text("#live-0")
    assert browser.messages() == []


def test_an_automaton_network_answers_as_it_does_in_python(browser, page_of, zoo):
    directory = zoo("automata")
    browser.open(url_of(page_of("automata")))
    run = int(browser.find("#run-0").get_attribute("value"))
    step = int(browser.find("#step-of-0 select").get_attribute("value"))
    opened = open_zoo(directory)
    automaton = automaton_of(opened.row(run, step)["automaton"])
    text = "01101001100"
    browser.type("#beginning", " 0110 1001-100 ")  # what is no symbol is left out
    symbols = torch.tensor([[int(letter) for letter in text]])
    accepted = load_model(directory, run, step)(one_hot(symbols, 4)).softmax(dim=-1)[0, :, 1]
    right = int(((accepted > 0.5) == automaton.answers(symbols)[0].bool()).sum())
    said = browser.text("#live-0 p")
    assert said.startswith(f"{right} of {len(text)} answers are right. After {len(text)} symbols")
    assert abs(float(re.search(r"probability ([\d.e-]+)\.", said)[1]) - accepted[-1].item()) < 1e-3
    assert browser.find("#position").get_attribute("max") == "11", "also for networks of more symbols"
    browser.find("#position").send_keys(Keys.HOME)
    assert "After 0 symbols the automaton is in state 0." in browser.text("#live-0 p")
    assert len(browser.all("#live-0 svg circle.state")) == automaton.num_states
    browser.find("#another").click()
    assert len(browser.find("#beginning").get_attribute("value")) == AUTOMATON_LENGTH
    assert browser.messages() == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_digit_network_classifies_chosen_turned_and_drawn_digits(width, browser, page_of, zoo):
    directory = zoo("sequential-mnist")
    page = page_of("sequential-mnist")
    browser.open(url_of(page), width)
    run = int(browser.find("#run-0").get_attribute("value"))
    step = int(browser.find("#step-of-0 select").get_attribute("value"))
    browser.choose("#digit", "13")
    browser.find("#to-task").click()
    browser.find("#angle").send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * 7)
    number = int(re.search(r"MNIST number (\d+)", browser.text('#digit option[value="13"]'))[1])
    digits = load_digits("embedded")
    image = digits.images[digits.numbers == number]
    logits = load_model(directory, run, step)(tile_inputs(image, rotation_table(7.0)))
    expected = logits[0, -1].softmax(dim=-1)
    said = browser.text("#live-0 p")
    assert f"turned by 7 degrees: class {int(expected.argmax())} with probability" in said
    assert abs(float(re.search(r"probability ([\d.]+)\.", said)[1]) - expected.max().item()) < 1e-3
    browser.find("#tiles").send_keys(Keys.HOME)
    assert browser.text("#live-0 p").startswith("After 0 of 49 tiles")
    browser.find("#wipe").click()
    blank = browser.run("return document.getElementById('drawing').toDataURL()")
    browser.drag("#drawing", (-0.2, -0.3), (0.2, 0.3))
    drawn = browser.run("return document.getElementById('drawing').toDataURL()")
    browser.find("#drawing").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.SPACE)
    assert len({blank, drawn, browser.run("return document.getElementById('drawing').toDataURL()")}) == 3
    assert browser.messages() == []


@pytest.mark.parametrize("width", WIDTHS)
def test_two_networks_are_compared_with_aligned_units_and_weights(width, browser, page_of):
    page = page_of("formal-languages")
    browser.open(url_of(page), width)
    browser.find("#choice-1 button").click()  # next
    browser.wait(lambda: browser.all("#live-1 canvas"))
    browser.find("#choice-1 button").click()
    browser.wait(lambda: "fit those of A best" in browser.text("#note-1"))
    browser.find("#option-weights").click()
    browser.wait(lambda: len(browser.all("#weights-1 canvas")) == 2 * 4 + 1)
    scales = browser.run("return [...document.querySelectorAll('#networks .scale')].map((own) => own.textContent)")
    assert scales[:3] == ["01", "-11", "-11"], "of the answers, from 0 to 1, and of two layers, around 0"
    assert len(scales) == 2 * (3 + 1), "of all maps of the weights of a network, one"
    aligned = browser.run("return [...document.querySelectorAll('#weights-1 canvas')].map((own) => own.toDataURL())")
    browser.find("#option-align").click()
    browser.wait(lambda: browser.text("#note-1") == "")
    apart = browser.run("return [...document.querySelectorAll('#weights-1 canvas')].map((own) => own.toDataURL())")
    assert aligned != apart
    browser.find("#option-sort").click()
    sorted_units = "return [...document.querySelectorAll('#weights-1 canvas')].map((own) => own.toDataURL())"
    browser.wait(lambda: browser.run(sorted_units) != apart)
    assert browser.messages() == []


def test_the_map_names_neighbours_and_looks_at_them(browser, page_of, zoo):
    browser.open(url_of(page_of("automata")))
    looked = int(re.search(r"Nearest to run (\d+)", browser.text("#neighbours-of"))[1])
    opened = open_zoo(zoo("automata"))
    index, (answers, _) = opened.index().to_pandas(), zoo_maps(opened)
    places = principal_components(answers.values)[0].astype(np.float16).astype(float)
    at_end = index.index[index["step"] == index["step"].max()]
    (row,) = at_end[index.loc[at_end, "run"] == looked]
    far = {index.loc[other, "run"]: np.linalg.norm(places[other] - places[row]) for other in at_end if other != row}
    shown = [int(own.text.removeprefix("run ")) for own in browser.all("#neighbours button")]
    assert shown == sorted(far, key=lambda run: far[run])[:8]
    nearest = browser.find("#neighbours button")
    run = nearest.text.removeprefix("run ")
    browser.run("arguments[0].click()", nearest)
    browser.wait(lambda: browser.find("#run-1").get_attribute("value") == run)
    distances = [float(own.text.rpartition("distance ")[2]) for own in browser.all("#neighbours li")]
    assert distances == sorted(distances) and len(distances) == 8
    browser.choose("#map-choice", "statistics")
    again = [float(own.text.rpartition("distance ")[2]) for own in browser.all("#neighbours li")]
    assert again == sorted(again) != distances
    browser.find("#step").send_keys(Keys.HOME)
    assert "at step 0" in browser.text("#neighbours-of")
    assert browser.messages() == []


def test_a_page_without_networks_shows_labels_and_huge_numbers_shortly(browser, zoo, tmp_path):
    directory = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    first = int(open_zoo(directory).index()["run"].to_numpy().min())
    for split in open_zoo(directory).splits():
        edit_index(directory, split, lambda rows: [row.update(loss=1.3739e32) for row in rows if row["run"] == first])
    build_page(open_zoo(directory), 0).write(tmp_path / "page")
    browser.open(url_of(tmp_path / "page"))
    browser.wait(lambda: browser.text("#note-0") == "Choose a network.")
    browser.find("#choice-0 button").click()  # next
    browser.wait(lambda: "Its weights are not inside this page" in browser.text("#note-0"))
    browser.type("#run-0", str(first))
    browser.wait(lambda: "1.37e+32 nats" in browser.text("#labels-0"))
    assert browser.messages() == []


def test_a_network_whose_weights_are_not_inside_says_what_to_do(browser, page_of):
    browser.open(url_of(page_of("automata")))
    known = set(browser.run("return [...document.querySelectorAll('#runs-0 option')].map((own) => own.value)"))
    missing = next(run for run in range(19) if str(run) not in known)
    browser.type("#run-0", str(missing))
    browser.wait(lambda: "rnn-zoos explore ZOO --serve" in browser.text("#note-0"))
    assert browser.all("#labels-0 dt") and not browser.all("#live-0 canvas")
    browser.type("#run-0", "99999")
    browser.wait(lambda: "This page has no run 99999." in browser.text("#note-0"))
    assert browser.messages() == []
