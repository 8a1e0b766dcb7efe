"""The server of the explorer: the files of its page, and of a zoo, parts of which the page reads by byte ranges."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from rnn_zoos.errors import FormatError, StorageError
from rnn_zoos.format.manifest import MANIFEST, read_manifest
from rnn_zoos.loaders.explorer.defaults import PORT, ZOO_FOLDER
from rnn_zoos.loaders.explorer.ranges import parse_ranges

# Not those of `mimetypes`, which depend on the machine.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_OTHER_TYPE = "application/octet-stream"
_CHUNK = 1 << 18  # bytes of a file that are in memory at once


class ExplorerServer(ThreadingHTTPServer):
    """Serves the files of a page, and below `/zoo/` those that the manifest of a zoo lists, and the manifest.

    Args:
        directory: Folder of the page.
        zoo_directory: Directory of the zoo; None for a page that has its own files below `/zoo/`, or none.
        host: Address to listen on; the default is reached from this machine only.
        port: Port to listen on; 0 chooses a free one.

    Attributes:
        url: Address of the page.

    Raises:
        FormatError: `directory` does not exist, or `zoo_directory` is not a zoo.
        StorageError: The port is taken, or the address is not one of this machine.
    """

    def __init__(self, directory: Path, zoo_directory: Path | None, host: str = "127.0.0.1", port: int = PORT) -> None:
        if not directory.is_dir():
            raise FormatError(f"{directory} is not a directory; expected the folder of the page.")
        files = None
        if zoo_directory is not None:
            files = {file: zoo_directory / file for file in (MANIFEST, *read_manifest(zoo_directory).files)}
        try:
            super().__init__((host, port), partial(_Handler, directory.resolve(), files))
        except (OSError, OverflowError) as error:
            raise _port_error(host, port, error) from error
        self.url = f"http://{host}:{self.server_address[1]}/"

    def __enter__(self) -> ExplorerServer:
        return self


def _port_error(host: str, port: int, error: Exception) -> StorageError:
    return StorageError(
        f"Port {port} of {host} cannot be used: {error}. Choose another port (0: any that is free), or stop the "
        "program that uses it."
    )


def check_port(port: int, host: str = "127.0.0.1") -> None:
    """Raise StorageError if a port cannot be listened on, before the work of making a page."""
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError) as error:
        raise _port_error(host, port, error) from error


def serve(
    directory: Path,
    zoo_directory: Path | None,
    host: str = "127.0.0.1",
    port: int = PORT,
    started: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve a page and the files of a zoo until Ctrl-C.

    Args:
        directory: Folder of the page.
        zoo_directory: Directory of the zoo, whose files are below `/zoo/`; None for none.
        host: Address to listen on; the default is reached from this machine only.
        port: Port to listen on; 0 chooses a free one.
        started: Called with the address of the page when it can be opened.

    Raises:
        FormatError: `directory` does not exist, or `zoo_directory` is not a zoo.
        StorageError: The port is taken, or the address is not one of this machine.
    """
    with ExplorerServer(directory, zoo_directory, host, port) as server, suppress(KeyboardInterrupt):
        started(server.url)
        server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    protocol_version = "HTTP/1.1"  # connections are kept: a page reads many small files
    disable_nagle_algorithm = True  # without it every answer waits for 40 ms

    def __init__(self, directory: Path, zoo_files: dict[str, Path] | None, *connection: object) -> None:
        self.directory, self.zoo_files = directory, zoo_files
        super().__init__(*connection)  # type: ignore[arg-type]

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: requests are many, and errors are seen in the page."""

    def handle(self) -> None:
        """Answer the requests of a connection until it is closed, on whichever side."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer with a file or the requested ranges of it."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer as to GET, without the body."""
        self._answer()

    def _answer(self) -> None:
        path = self._find(unquote(self.path.partition("?")[0]).removeprefix("/"))
        if path is None:
            return self._send_empty(HTTPStatus.NOT_FOUND)
        try:
            file = path.open("rb")
        except OSError:
            return self._send_empty(HTTPStatus.NOT_FOUND)
        with file:
            self._send_file(file, os.fstat(file.fileno()).st_size, _TYPES.get(path.suffix, _OTHER_TYPE))

    def _find(self, name: str) -> Path | None:
        """Return the file that a request names; None if it names none that is served."""
        if self.zoo_files is not None and name.startswith(ZOO_FOLDER):
            return self.zoo_files.get(name.removeprefix(ZOO_FOLDER))
        if not name or name.endswith("/"):
            name += "index.html"
        with suppress(OSError, ValueError):  # a name that is too long, or has a NUL
            path = (self.directory / name).resolve()
            if path.is_relative_to(self.directory) and path.is_file():
                return path
        return None

    def _send_file(self, file: BinaryIO, size: int, content_type: str) -> None:
        # Ranges are defined for GET only. There are no validators, so that If-Range names another version of the file.
        ignored = self.command != "GET" or "If-Range" in self.headers
        ranges = parse_ranges(None if ignored else self.headers.get("Range"), size)
        if ranges is None:
            self._send_headers(HTTPStatus.OK, content_type, size)
            return self._send_bytes(file, range(size))
        if not ranges:
            return self._send_empty(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"bytes */{size}")
        if len(ranges) == 1:
            self._send_headers(
                HTTPStatus.PARTIAL_CONTENT, content_type, len(ranges[0]), _content_range(ranges[0], size)
            )
            return self._send_bytes(file, ranges[0])
        self._send_parts(file, size, content_type, ranges)

    def _send_parts(self, file: BinaryIO, size: int, content_type: str, ranges: list[range]) -> None:
        """Send several ranges as multipart/byteranges."""
        boundary = secrets.token_hex(16)
        heads = [
            f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {_content_range(part, size)}\r\n\r\n"
            for part in ranges
        ]
        end = f"\r\n--{boundary}--\r\n"
        length = sum(map(len, heads)) + sum(map(len, ranges)) + len(end)
        self._send_headers(HTTPStatus.PARTIAL_CONTENT, f"multipart/byteranges; boundary={boundary}", length)
        for head, part in zip(heads, ranges, strict=True):
            self.wfile.write(head.encode())
            self._send_bytes(file, part)
        self.wfile.write(end.encode())

    def _send_headers(self, status: HTTPStatus, content_type: str, length: int, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()

    def _send_empty(self, status: HTTPStatus, content_range: str = "") -> None:
        self._send_headers(status, "text/plain; charset=utf-8", 0, content_range)

    def _send_bytes(self, file: BinaryIO, part: range) -> None:
        """Send bytes of a file, unless the request is for the headers only."""
        if self.command == "HEAD":
            return
        for chunk in _chunks(file, part):
            self.wfile.write(chunk)


def _chunks(file: BinaryIO, part: range) -> Iterator[bytes]:
    """Yield bytes of a file. Raises ConnectionAbortedError if the file has become shorter: the length has been sent."""
    file.seek(part.start)
    for place in range(part.start, part.stop, _CHUNK):
        chunk = file.read(min(_CHUNK, part.stop - place))
        if len(chunk) < min(_CHUNK, part.stop - place):
            raise ConnectionAbortedError(f"The file ends before byte {part.stop}.")
        yield chunk


def _content_range(part: range, size: int) -> str:
    return f"bytes {part.start}-{part.stop - 1}/{size}"
