"""Odd zoos in the explorer's page: hostile texts, one run, no accuracy, many rows; served pages; accessibility."""

import json
import re
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from explorer_tools import AXE, axe_violations, npm_package
from selenium.webdriver.common.keys import Keys
from test_explorer_browser import WIDTHS, ZOOS, url_of

from rnn_zoos.loaders.explorer.data_files import data_script
from rnn_zoos.loaders.explorer.maps import MapFeatures
from rnn_zoos.loaders.explorer.page import build_page
from rnn_zoos.loaders.explorer.server import ExplorerServer
from rnn_zoos.loaders.zoo import open_zoo

pytestmark = pytest.mark.slow
ATTACK = '<img src=x onerror="window.attacked=1"><script>window.attacked=2</script>&lt;b&gt;'
"""Put into every text: it must be shown, not run."""
_STRUCTURE = {"dtype", "kind", "live", "picture", "cell", "weights", "axes", "shards", "seed", "labels"}
"""Entries of the page's data that are the names of something."""


def edit_data(page: Path, name: str, change) -> None:
    """Replace the head of a data file by `change(head)`."""
    path = page / "data" / f"{name}.js"
    entry = json.loads(re.search(r"\] = (.*);\n", path.read_text())[1])
    content = data_script(name, change(entry["head"])).decode()
    path.write_text(content.replace('"bytes":""', f'"bytes":"{entry["bytes"]}"'))


def attacked(data, key=""):
    """Return data whose texts contain an attack, except names that the page looks up."""
    if isinstance(data, dict):
        return {name: own if name in _STRUCTURE else attacked(own, name) for name, own in data.items()}
    if isinstance(data, list):
        return [attacked(own, key) for own in data]
    known = {"split", "task", "run", "step", "shard", "row", "accuracy", "m_b", "m_c", "m_d"}
    if isinstance(data, str) and not (key == "name" and data in known):
        return f"{ATTACK} {data}"
    return data


@pytest.mark.parametrize("width", WIDTHS)
def test_texts_of_a_hostile_zoo_are_shown_and_never_run(width, browser, zoo, tmp_path):
    opened = open_zoo(zoo("formal-languages"))
    values = np.random.default_rng(0).normal(size=(len(opened.index()), 3))
    build_page(opened, 9, [MapFeatures("numbers", "numbers", values)]).write(tmp_path / "page")
    edit_data(tmp_path / "page", "zoo", attacked)
    edit_data(tmp_path / "page", "maps", attacked)
    browser.open(url_of(tmp_path / "page"), width)
    for picture in ("history", "tasks", "labels", "map"):
        browser.run("arguments[0].scrollIntoView()", browser.find(f"#{picture}"))
    options = browser.run("return [...document.querySelectorAll('#colour option')].map((own) => own.value)")
    for option in options:
        browser.choose("#colour", option)
    browser.find("#choice-1 button").click()
    browser.wait(lambda: browser.all("#labels-1 dt"))
    assert ATTACK in browser.text("#title") and ATTACK in browser.text("#labels-1")
    assert browser.run("return window.attacked") is None
    assert not browser.all("img") and browser.run("return document.querySelectorAll('script').length") < 9
    assert [message for message in browser.messages() if "Refused" in message or "Error" in message] == []


def test_a_zoo_of_one_run_and_one_without_accuracy_lose_pictures_not_the_page(browser, zoo, tmp_path):
    opened = open_zoo(zoo("automata"))
    index = opened.index(where=[("run", "==", 3)])
    opened.index = lambda *args, **kwargs: index  # type: ignore[method-assign]
    build_page(opened, 2).write(tmp_path / "one")
    browser.open(url_of(tmp_path / "one"))
    assert browser.text("#count").startswith("1 of 1 runs at step")
    assert browser.find("#map-section").get_attribute("hidden") is not None
    assert browser.all("#live-0 canvas") and browser.messages() == []

    def without(head):
        columns = [own for own in head["columns"] if own["name"] in ("run", "step", "split", "task", "shard", "row")]
        return {**head, "columns": columns, "labels": []}

    edit_data(tmp_path / "one", "zoo", without)
    browser.open(url_of(tmp_path / "one"))
    assert browser.all("#history .main-svg") and browser.all("#tasks .main-svg")


def test_a_page_without_rows_says_so(browser, zoo, tmp_path):
    opened = open_zoo(zoo("formal-languages"))
    build_page(opened, 0).write(tmp_path / "page")
    edit_data(tmp_path / "page", "zoo", lambda head: {**head, "rows": 0})
    browser.open(url_of(tmp_path / "page"))
    assert browser.find("#empty").is_displayed() and browser.messages() == []


def test_a_hundred_thousand_rows_are_thinned_and_the_page_says_so(browser, zoo, tmp_path):
    opened = open_zoo(zoo("formal-languages"))
    small = opened.index()
    copies = 100_000 // len(small) + 1
    tables = [small.set_column(0, "run", [pa.array(small["run"].to_numpy() + 7 * copy)]) for copy in range(copies)]
    large = pa.concat_tables(tables)
    opened.index = lambda *args, **kwargs: large  # type: ignore[method-assign]
    page = build_page(opened, 6)
    assert page.rows <= 20_000 < page.all_rows and page.data_bytes < 5e6
    page.write(tmp_path / "page")
    browser.open(url_of(tmp_path / "page"))
    assert f"this page shows {page.rows:,} of its {page.all_rows:,} snapshots" in browser.text("#thinned")
    assert browser.all("#history .main-svg") and browser.messages() == []


@pytest.fixture(scope="module")
def served(zoo, tmp_path_factory):
    """The address of a served page of automata without networks inside, and its zoo."""
    directory = zoo("automata")
    page = tmp_path_factory.mktemp("served") / "page"
    build_page(open_zoo(directory), 0, zoo_is_served=True).write(page)
    with ExplorerServer(page, directory, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


def test_every_network_of_a_served_zoo_runs_by_one_request(served, browser):
    browser.open(served)
    browser.wait(lambda: browser.all("#live-0 canvas"))
    browser.requests()
    run = browser.find("#run-0").get_attribute("value")
    steps = browser.run("return [...document.querySelectorAll('#step-of-0 option')].map((own) => own.value)")
    browser.choose("#step-of-0 select", steps[0])  # of the same shard, whose header is known
    browser.wait(lambda: browser.all("#live-0 canvas"))
    browser.wait(lambda: browser.find("#step-of-0 select").get_attribute("value") == steps[0])
    asked = browser.requests()
    assert len(asked) == 1 and asked[0]["url"].startswith(f"{served.rstrip('/')}/zoo/shards/")
    other = browser.run("return [...document.querySelectorAll('#runs-0 option')].map((own) => own.value)")
    assert len(other) == 19 and run in other
    assert browser.messages() == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ZOOS)
def test_pages_pass_an_accessibility_checker(name, width, browser, page_of):
    script = npm_package("axe-core", AXE) / "axe.min.js"
    browser.open(url_of(page_of(name)), width)
    browser.find("#option-weights").click()
    browser.find("#choice-1 button").click()
    browser.wait(lambda: browser.all("#weights-1 canvas"))
    assert axe_violations(browser, script) == []


@pytest.mark.parametrize("name", ZOOS)
def test_the_keyboard_alone_reaches_every_control(name, browser, page_of):
    browser.open(url_of(page_of(name)))
    controls = (
        "[...document.querySelectorAll('a[href], button, input, select, canvas[tabindex]')]"
        ".filter((own) => !own.disabled)"
        ".filter((own) => !own.closest('.plot'))"  # the buttons of plotly, whose every use has a control of ours
    )
    browser.run("document.activeElement.blur(); window.reached = new Set()")
    for _ in range(browser.run(f"return {controls}.length") + 40):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        browser.run("window.reached.add(document.activeElement)")
    assert browser.run(f"return {controls}.filter((own) => !window.reached.has(own)).map((own) => own.outerHTML)") == []
    browser.run("document.getElementById('live-0').querySelector('canvas[tabindex]').focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert re.search(r": [\d.e-]+$", browser.text("#live-0 .reading"))
