"""A zoo of several architectures in the explorer's page."""

import pytest
from conftest import generate_in_process
from mixed_preset import MIXED

from rnn_zoos.baselines.emulation.zoo_maps import zoo_maps
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.loaders.explorer.page import build_page
from rnn_zoos.loaders.zoo import open_zoo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "mixed.yaml").write_text(MIXED.format(runs=12))
    generate_in_process(folder / "zoo", make_plan("formal-languages", str(folder / "mixed.yaml"), backend="native"))
    opened = open_zoo(folder / "zoo")
    assert len({*opened.index()["architecture"].to_pylist()}) == 3
    build_page(opened, 36, zoo_maps(opened)).write(folder / "page")
    return folder / "page"


def test_networks_of_every_architecture_run_and_are_filtered(page, browser):
    browser.open((page / "index.html").as_uri())
    legends = [own.text for own in browser.all("#filters legend")]
    assert legends[:3] == ["split", "architecture", "cell"]
    runs = browser.run("return [...document.querySelectorAll('#runs-0 option')].map((own) => own.value)")
    layers = set()
    for run in runs:
        browser.type("#run-0", run)
        browser.wait(lambda run=run: f"run {run} " in (browser.find("#history-0").get_attribute("aria-label") or ""))
        canvases = browser.all("#live-0 canvas")  # probabilities, and the hidden units of each layer
        layers.add(len(canvases) - 1)
    assert layers == {1, 2, 3}
    boxes = browser.all("#filters fieldset:nth-of-type(3) input")
    boxes[0].click()
    shown = int(browser.text("#count").split()[0])
    assert 0 < shown < 12
    assert browser.messages() == []


def test_networks_of_two_architectures_are_compared_without_being_aligned(page, browser):
    browser.open((page / "index.html").as_uri())
    notes = set()
    for _ in range(11):
        before = browser.find("#run-1").get_attribute("value")
        browser.run("arguments[0].click()", browser.find("#choice-1 button"))
        browser.wait(lambda before=before: browser.find("#run-1").get_attribute("value") != before)
        browser.wait(lambda: browser.text("#note-1") != "")
        notes.add(browser.text("#note-1"))
    assert notes == {
        "Its units are in the order, and with the signs, that fit those of A best.",
        "A has another architecture, so that their units cannot be aligned.",
    }
    assert browser.messages() == []
