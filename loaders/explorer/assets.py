"""The page's own files: HTML, style, JavaScript modules, and the library that draws its pictures."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from rnn_zoos.errors import MissingExtraError

_STATIC = files(__package__) / "static"
_PLOTLY = "vendor/plotly.min.js"


def html_page(name: str, entry: str, data: Sequence[str], links: Mapping[str, str]) -> bytes:
    """Return an HTML file of the page.

    Modules are inside it, as data URLs of an import map: a browser does not load modules as files from a disk.

    Args:
        name: Name of the template in `static/`.
        entry: Module that it runs.
        data: Paths of the data files that it loads.
        links: Other HTML files of the page, path -> title.
    """
    scripts = "\n".join(f'<script src="{path}"></script>' for path in (*data, _PLOTLY))
    modules = (
        f'<script type="importmap">{_import_map()}</script>\n<script type="module">import "explorer/{entry}";</script>'
    )
    template = (_STATIC / name).read_text(encoding="utf-8")
    anchors = "\n".join(f'<a href="{path}">{title}</a>' for path, title in links.items())
    return template.replace("<!-- links -->", anchors).replace("<!-- scripts -->", f"{scripts}\n{modules}").encode()


def page_assets() -> dict[str, bytes]:
    """Return the other files of the page: path -> content. Raises MissingExtraError if plotly is not installed."""
    return {"style.css": (_STATIC / "style.css").read_bytes(), _PLOTLY: _plotly()}


@lru_cache(maxsize=1)
def _import_map() -> str:
    """Return the import map: `explorer/NAME` -> the module as a data URL."""
    modules = sorted(
        (path for path in (_STATIC / "js").iterdir() if path.name.endswith(".js")), key=lambda path: path.name
    )
    urls = {
        f"explorer/{path.name.removesuffix('.js')}": "data:text/javascript;base64,"
        + base64.b64encode(path.read_bytes()).decode()
        for path in modules
    }
    return json.dumps({"imports": urls})


def _plotly() -> bytes:
    """Return plotly's library, which its Python package carries."""
    found = find_spec("plotly")  # finds the package without importing it
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError.of("explore", ModuleNotFoundError("No module named 'plotly'", name="plotly"))
    return Path(found.submodule_search_locations[0], "package_data", "plotly.min.js").read_bytes()
