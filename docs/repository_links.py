"""A hook of MkDocs: links from a page to notebooks, and to files of the repository outside docs/.

In the Markdown files such links are relative, so that they work on a code host. On the site, pictures are copied and
other files become links to the code host. A link to a file that does not exist is a warning, which fails the build.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from posixpath import dirname, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"\]\((\.\./[^)\s#]*|[\w./-]+\.ipynb)(#[^)\s]*)?\)")
_PICTURES = (".png", ".svg")
_log = logging.getLogger("mkdocs.hooks.repository_links")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page's Markdown with links to notebooks, and those that leave docs/, replaced."""
    root, folder = Path(config.config_file_path).parent, dirname(page.file.src_uri)
    docs = os.path.relpath(config.docs_dir, root)

    def replace(link: re.Match[str]) -> str:
        target = normpath(f"{docs}/{folder}/{link[1]}")
        if target.startswith(f"{docs}/") and not target.endswith(".ipynb"):
            return link[0]
        path = root / target
        if not path.exists():
            _log.warning(f"{page.file.src_uri} links to {link[1]}, which does not exist.")
        if path.suffix not in _PICTURES:
            kind = "tree" if path.is_dir() else "blob"
            return f"]({config.repo_url}/{kind}/main/{target}{link[2] or ''})"
        copy = f"repository/{target}"
        if files.get_file_from_path(copy) is None:
            files.append(File.generated(config, copy, abs_src_path=str(path)))
        return f"]({relpath(copy, folder or '.')})"

    return _LINK.sub(replace, markdown)
