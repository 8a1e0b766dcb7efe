"""The screenshots of docs/explorer.md.

By default they are taken of a tiny zoo, to see that they can be. `RNN_ZOOS_SCREENSHOTS=DIR/index.html tests/run.sh -k
screenshots` takes them of a page that was made before, and stores them in docs/images.
"""

import os
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image
from selenium.webdriver.common.keys import Keys

STORED = ("explorer-overview", "explorer-map", "explorer-networks")


@pytest.mark.slow
def test_screenshots_of_the_explorer(browser, page_of, tmp_path):
    page = os.environ.get("RNN_ZOOS_SCREENSHOTS")
    out = ROOT / "docs" / "images" if page else tmp_path
    browser.open(Path(page).resolve().as_uri() if page else (page_of("formal-languages") / "index.html").as_uri(), 1280)
    shot(browser, "#overview .pictures", out / "explorer-overview.png", 3)
    colour = "accuracy"
    browser.choose("#colour", colour)
    browser.find("#step").send_keys(*[Keys.ARROW_LEFT] * 3)
    shot(browser, "#map-section .pictures", out / "explorer-map.png")
    browser.run("arguments[0].click()", browser.find("#choice-1 button"))
    browser.wait(lambda: browser.all("#live-1 canvas"))
    browser.type("#beginning", "aaabbb")
    shot(browser, "#networks .panels", out / "explorer-networks.png")
    for name in STORED:
        with Image.open(out / f"{name}.png") as image:
            assert len(image.convert("RGB").getcolors(1 << 20) or ()) > 20, name  # not blank


def shot(browser, selector, path, parts=None):
    """Store a picture of an element, or of its first parts, in few colours."""
    browser.run("document.querySelector('section.bar').style.position = 'static'")  # it would cover the element
    element = browser.find(selector)
    browser.run("arguments[0].scrollIntoView()", element)
    height = browser.run("return arguments[0].scrollHeight", element)
    browser.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1280, "height": height + 400, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.run("window.dispatchEvent(new Event('resize')); arguments[0].scrollIntoView()", element)
    element.screenshot(str(path))
    with Image.open(path) as image:
        image.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE).save(path, optimize=True)
