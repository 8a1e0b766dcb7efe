"""The HTTP transport of the loopback Hub in mini_hub.py: routing, bodies, ranges, and injected faults."""

import json
import re
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

import mini_hub

ROUTES = []
CHUNK = 1 << 18  # bytes of a body that are sent at once


def route(method, pattern):
    """Register a method of the handler for requests whose path matches a pattern; groups are its arguments."""

    def register(function):
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


class AnswerError(Exception):
    """An error response, with the Hub's messages and headers."""

    def __init__(self, status, message="", code=None, headers=None):
        self.status, self.message = status, message or str(status)
        self.headers = {"X-Error-Message": self.message, **({"X-Error-Code": code} if code else {}), **(headers or {})}


class Transport(BaseHTTPRequestHandler):
    """Reads requests, calls routes, sends responses, and applies faults."""

    protocol_version, hub = "HTTP/1.1", None
    disable_nagle_algorithm = True  # without it every response is delayed by 40 ms

    def log_message(self, *arguments):
        pass

    def _handle(self):
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.request_log = mini_hub.Request(self.command, path, url.query, self.headers.get("Range"))
        self.hub.log.append(self.request_log)
        self.fault = self.hub.take_fault(f"{self.command} {path}")
        self.body = self._read_body()  # also before an error, because the connection is kept alive
        try:
            self._apply_early_fault()
            self._route(url.path)  # the raw path, because a revision may contain %2F
        except AnswerError as error:
            self._json({"error": error.message}, error.status, error.headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - the names that http.server looks for

    def _apply_early_fault(self):
        """Apply faults that take effect before the request is processed."""
        if self.fault and self.fault.kind == "delay":
            time.sleep(self.fault.after)
        if self.fault and self.fault.kind == "status":
            raise AnswerError(self.fault.status, "injected fault", headers=self.fault.headers)

    def _route(self, path):
        method = "GET" if self.command == "HEAD" else self.command
        for route_method, pattern, function in ROUTES:
            match = pattern.fullmatch(path)
            if match and route_method == method:
                return function(self, *[group and unquote(group) for group in match.groups()])
        raise AnswerError(404, f"no route: {self.command} {path}")

    def _read_body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, status, headers, size, chunks):
        if self.fault and self.fault.kind == "lost":
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        self.request_log.status = status
        self.send_response(status)
        for name, value in {"Content-Length": size, **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(chunks)

    def _send_body(self, chunks):
        fault, sent = self.fault, 0
        for chunk in chunks:
            if fault and fault.kind == "corrupt" and chunk:
                chunk, fault = bytes([chunk[0] ^ 0xFF]) + chunk[1:], None
            if fault and fault.kind in ("cut", "rst") and sent + len(chunk) > fault.after:
                self.wfile.write(chunk[: int(fault.after) - sent])
                return self._disconnect(reset=fault.kind == "rst")
            self.wfile.write(chunk)
            sent += len(chunk)

    def _disconnect(self, reset):
        self.close_connection = True
        if not reset:
            return self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()  # with a linger time of 0 seconds, this sends a reset

    def _json(self, data, status=200, headers=None):
        body = json.dumps(data).encode()
        self._send(status, {"Content-Type": "application/json", **(headers or {})}, len(body), [body])

    def _file(self, sha, headers):
        """Send a stored content, or the requested range of it."""
        path, status = self.hub.blob_path(sha), 200
        size = path.stat().st_size
        start, end = 0, size
        requested = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if requested and (requested[1] or requested[2]):
            start = int(requested[1]) if requested[1] else max(size - int(requested[2]), 0)
            end, status = min(int(requested[2]) + 1, size) if requested[1] and requested[2] else size, 206
            if start >= size:
                raise AnswerError(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"

        def chunks():
            with open(path, "rb") as file:
                file.seek(start)
                for position in range(start, end, CHUNK):
                    yield file.read(min(CHUNK, end - position))

        self._send(status, {"Content-Type": "application/octet-stream", **headers}, end - start, chunks())
