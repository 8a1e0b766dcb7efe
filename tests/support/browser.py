"""A headless Chromium, and what tests of the explorer's page do in it."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

PATIENCE = 60  # seconds for what takes a second on a machine that does nothing else
_SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
)


def require_chromium() -> tuple[str, str]:
    """Return the paths of Chromium and its driver; without them skip, or fail in CI."""
    chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if chromium and driver:
        return chromium, driver
    message = "the explorer's tests need Chromium and its driver; on Debian: apt-get install chromium chromium-driver"
    pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


class Browser:
    """A window of Chromium with a page in it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str, width: int = 1400, height: int = 1000) -> None:
        """Open a page of the explorer and wait until it is ready."""
        self.driver.set_window_size(width, height)
        # Chromium's window is at least 500 wide; a narrower page needs the metrics of a device.
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.get("about:blank")
        self.messages(), self.requests()
        self.driver.get(url)
        self.wait(lambda: self.run("return document.body.dataset.ready === 'yes'"))

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page and return its result."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition holds and return its value."""
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < deadline, f"timeout; the console says {self.messages()}"
            time.sleep(0.05)
        return value

    def find(self, selector: str) -> Any:
        """Return the first element that a CSS selector finds."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        """Return all elements that a CSS selector finds."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return the text of an element, whether or not it can be seen."""
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def type(self, selector: str, text: str) -> None:
        """Replace the content of a field by typing, and leave the field."""
        field = self.find(selector)
        field.clear()
        field.send_keys(text + "\t")

    def choose(self, selector: str, value: str) -> None:
        """Choose an option by its value."""
        Select(self.find(selector)).select_by_value(value)

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag the mouse over an element, between places that are fractions of its width and height from its centre."""
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        size = element.size
        (x, y), (right, down) = ((int(across * size["width"]), int(up * size["height"])) for across, up in (start, end))
        actions = ActionChains(self.driver, duration=50).move_to_element_with_offset(element, x, y).click_and_hold()
        for part in range(1, 5):
            places = [(first + (last - first) * part // 4) for first, last in ((x, right), (y, down))]
            before = [(first + (last - first) * (part - 1) // 4) for first, last in ((x, right), (y, down))]
            actions = actions.move_by_offset(places[0] - before[0], places[1] - before[1])
        actions.pause(0.1).release().perform()

    def lasso(self, selector: str, moves: Sequence[tuple[int, int]]) -> None:
        """Draw a lasso over an element from its centre, by moves in pixels."""
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        actions = ActionChains(self.driver, duration=50).move_to_element(element).click_and_hold()
        for across, down in moves:
            actions = actions.move_by_offset(across, down)
        actions.pause(0.1).release().perform()

    def messages(self) -> list[str]:
        """Return what the console has said since the last call."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests since the last call: `url`, `method`, `headers`."""
        entries = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [entry["params"]["request"] for entry in entries if entry["method"] == "Network.requestWillBeSent"]


@contextmanager
def chromium(profile: str) -> Iterator[Browser]:
    """Start Chromium with a profile folder of its own, and quit it at the end."""
    binary, driver = require_chromium()
    options = Options()
    for switch in (*_SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(started)
    finally:
        started.quit()
