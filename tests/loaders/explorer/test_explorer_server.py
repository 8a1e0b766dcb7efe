"""The explorer's server: byte ranges as RFC 9110 has them, nothing but the page and the files of the zoo."""

import json
import os
import re
import socket
from contextlib import closing
from http.client import HTTPConnection

import pytest
from explorer import serving

from rnn_zoos.errors import FormatError, StorageError
from rnn_zoos.loaders.explorer.ranges import parse_ranges
from rnn_zoos.loaders.explorer.server import ExplorerServer, serve

CONTENT = bytes(range(256)) * 5 + b"\r\n--end"
SIZE = len(CONTENT)


@pytest.fixture
def page(tmp_path):
    """Return the folder of a page, next to which is a file that must not be served."""
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "page"
    (folder / "js").mkdir(parents=True)
    (folder / "index.html").write_text("<p>page</p>")
    (folder / "js" / "network.js").write_text("export const a = 1;")
    (folder / "package.json").write_text("{}")
    (folder / "style.css").write_text("p {}")
    (folder / "with space.bin").write_bytes(CONTENT)
    (folder / "empty.bin").touch()
    (folder / "outside.txt").symlink_to(tmp_path / "secret.txt")
    return folder


def ask(server, path, method="GET", **headers):
    """Return status, headers and body of an answer; underscores in names of headers are hyphens."""
    connection = HTTPConnection(*server.server_address[:2], timeout=20)
    with closing(connection):
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def parts_of(headers, body):
    """Return (first, last, size, bytes) of the parts of a multipart/byteranges body."""
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", headers["Content-Type"])[1].encode()
    start, *parts, end = body.split(b"\r\n--" + boundary)
    assert start == b"" and end == b"--\r\n"
    found = []
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        assert b"\r\nContent-Type: application/octet-stream" in head
        numbers = re.search(rb"Content-Range: bytes (\d+)-(\d+)/(\d+)", head)
        found.append((*map(int, numbers.groups()), content))
    return found


@pytest.mark.parametrize(
    ("header", "expected"),
    (
        (None, None),
        ("bytes=0-0", [range(1)]),
        ("bytes=3-9", [range(3, 10)]),
        ("Bytes = 3-9", [range(3, 10)]),
        ("bytes=90-", [range(90, 100)]),
        ("bytes=-7", [range(93, 100)]),
        ("bytes=-700", [range(100)]),
        ("bytes=95-700", [range(95, 100)]),
        ("bytes=99-99, 3-4 ,\t-1,,", [range(99, 100), range(3, 5), range(99, 100)]),
        ("bytes=3-4,100-120", [range(3, 5)]),
        ("bytes=100-", []),
        ("bytes=-0", []),
        ("bytes=100-,700-800,-0", []),
        ("bytes=0-99,0-0", None),
        ("bytes=0-,0-,0-", None),
        ("bytes=", None),
        ("bytes=,", None),
        ("bytes=-", None),
        ("bytes=9-3", None),
        ("bytes=3-4,9-3", None),
        ("bytes=a-b", None),
        ("bytes=+3-4", None),
        ("bytes=3 -4", None),
        ("bytes=3--4", None),
        ("bytes=³-4", None),
        ("bytes", None),
        ("lines=0-1", None),
        ("bytes=0-" + "9" * 5000, None),
        ("bytes=0-" + "9" * 50, [range(100)]),
    ),
)
def test_ranges_are_read_as_rfc_9110_has_them(header, expected):
    assert parse_ranges(header, 100) == expected


def test_a_file_is_sent_whole_or_in_ranges(page):
    path = "/with%20space.bin"
    with serving(page) as server:
        status, headers, body = ask(server, path)
        assert (status, body, headers["Content-Type"]) == (200, CONTENT, "application/octet-stream")
        assert headers["Accept-Ranges"] == "bytes" and headers["Cache-Control"] == "no-cache"
        status, headers, body = ask(server, path, Range="bytes=7-19")
        assert (status, body) == (206, CONTENT[7:20])
        assert headers["Content-Range"] == f"bytes 7-19/{SIZE}" and headers["Content-Length"] == "13"
        status, headers, body = ask(server, path, Range=f"bytes=7-19,1000-1003,-7,{SIZE}-")
        assert status == 206 and int(headers["Content-Length"]) == len(body)
        wanted = [(7, 19), (1000, 1003), (SIZE - 7, SIZE - 1)]
        assert parts_of(headers, body) == [(a, b, SIZE, CONTENT[a : b + 1]) for a, b in wanted]
        status, headers, body = ask(server, path, Range=f"bytes=5-5,{SIZE}-")
        assert (status, body, headers["Content-Range"]) == (206, CONTENT[5:6], f"bytes 5-5/{SIZE}")
        status, headers, body = ask(server, path, Range=f"bytes={SIZE}-,{SIZE + 5}-{SIZE + 9}")
        assert (status, body, headers["Content-Range"]) == (416, b"", f"bytes */{SIZE}")
        for ignored in ({"Range": "bytes=9-3"}, {"Range": "bytes=0-0", "If_Range": '"another version"'}):
            status, _, body = ask(server, path, **ignored)
            assert (status, body) == (200, CONTENT)
        assert ask(server, "/empty.bin")[::2] == (200, b"")
        assert ask(server, "/empty.bin", Range="bytes=0-")[0] == 416


def test_head_has_the_headers_of_get_without_body_and_ignores_ranges(page):
    with serving(page) as server:
        for headers in ({}, {"Range": "bytes=0-3"}):
            status, found, body = ask(server, "/with%20space.bin", method="HEAD", **headers)
            assert (status, found["Content-Length"], body) == (200, str(SIZE), b"")
        assert ask(server, "/nothing", method="HEAD")[0] == 404
        assert ask(server, "/index.html", method="POST")[0] == 501


def test_types_are_those_that_a_browser_needs(page):
    with serving(page) as server:
        types = {path: ask(server, path)[1]["Content-Type"] for path in ("/", "/js/network.js", "/package.json?v=3")}
        assert types == {
            "/": "text/html; charset=utf-8",
            "/js/network.js": "text/javascript; charset=utf-8",
            "/package.json?v=3": "application/json",
        }
        assert ask(server, "/style.css")[1]["Content-Type"] == "text/css; charset=utf-8"
        assert ask(server, "/")[1]["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    (
        "/../secret.txt",
        "/js/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "//{parent}/secret.txt",
        "/%2f{parent}/secret.txt",
        "/outside.txt",
        "/js",
        "/js/",
        "/nothing.js",
        "/index.html%00.js",
        "/" + "a" * 5000,
        "/zoo/zoo.json",
        "/zoo/../../secret.txt",
        "/http://[",
    ),
)
def test_nothing_outside_the_page_is_served_and_no_folder_is_listed(page, path):
    with serving(page) as server:
        status, _, body = ask(server, path.format(parent=page.parent))
        assert (status, body) == (404, b"")


def test_of_a_zoo_only_the_files_that_its_manifest_lists_are_served(page, zoo):
    directory = zoo("formal-languages", "lstm")
    listed = ["zoo.json", *json.loads((directory / "zoo.json").read_text())["files"]]
    others = {str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file()} - {*listed}
    assert others, "the lock, at least"
    (page / "zoo").mkdir()
    (page / "zoo" / "extra.json").write_text("{}")
    with serving(page, directory) as server:
        for file in listed:
            assert ask(server, f"/zoo/{file}")[::2] == (200, (directory / file).read_bytes())
        for file in (*others, "", "shards", "shards/", "extra.json", "index/../.lock", "./zoo.json"):
            assert ask(server, f"/zoo/{file}")[0] == 404, file
    with serving(page) as server:  # a page that has its own zoo
        assert ask(server, "/zoo/extra.json")[::2] == (200, b"{}")


def test_a_file_of_the_zoo_that_is_gone_is_not_found(page, zoo, tmp_path):
    directory = tmp_path / "copy"
    directory.mkdir()
    (directory / "zoo.json").write_bytes((zoo("formal-languages", "lstm") / "zoo.json").read_bytes())
    with serving(page, directory) as server:
        assert ask(server, "/zoo/zoo.json")[0] == 200 and ask(server, "/zoo/index/train.parquet")[0] == 404


def test_a_connection_is_kept_and_one_that_breaks_disturbs_nobody(page, capfd):
    (page / "large.bin").write_bytes(bytes(1 << 24))
    with serving(page) as server:
        with closing(HTTPConnection(*server.server_address[:2], timeout=20)) as connection:
            for _ in range(3):
                connection.request("GET", "/index.html", headers={"Range": "bytes=1-1,3-4"})
                answer = connection.getresponse()
                assert answer.status == 206 and len(answer.read()) == int(answer.headers["Content-Length"])
        for request in (b"GET /large.bin HTTP/1.1\r\n\r\n", b"GET /"):
            with socket.create_connection(server.server_address[:2]) as broken:
                broken.sendall(request)
                broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing it is a reset
        assert ask(server, "/index.html")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_file_that_gets_shorter_while_it_is_sent_ends_the_connection(page, monkeypatch):
    """Its length has been sent: the rest must not be filled up by the next answer."""
    real = os.fstat
    stretched = lambda number: os.stat_result((*real(number)[:6], 9 * SIZE, *real(number)[7:]))  # noqa: E731
    monkeypatch.setattr("rnn_zoos.loaders.explorer.server.os.fstat", stretched)
    with serving(page) as server, socket.create_connection(server.server_address[:2], timeout=20) as connection:
        connection.sendall(b"GET /with%20space.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert f"Content-Length: {9 * SIZE}".encode() in received


def test_it_listens_on_this_machine_only_and_says_where(page):
    with serving(page) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert server.url == f"http://127.0.0.1:{server.server_address[1]}/"


def test_a_port_or_a_folder_that_cannot_be_used_is_explained(page, zoo):
    with serving(page) as server:
        port = server.server_address[1]
        with pytest.raises(StorageError, match=rf"Port {port} of 127\.0\.0\.1 cannot be used: .* Choose another port"):
            serve(page, None, port=port)
    for place in ({"port": 70000}, {"host": "192.0.2.1", "port": 0}):
        with pytest.raises(StorageError, match="cannot be used"):
            ExplorerServer(page, None, **place)
    with pytest.raises(FormatError, match="nowhere is not a directory"):
        ExplorerServer(page / "nowhere", None, port=0)
    with pytest.raises(FormatError, match="is not a zoo"):
        ExplorerServer(page, page, port=0)


def test_serve_runs_until_ctrl_c_and_frees_its_port(page, monkeypatch):
    ports = []

    def interrupted(server):
        ports.append(server.server_address[1])
        raise KeyboardInterrupt

    monkeypatch.setattr(ExplorerServer, "serve_forever", interrupted)
    serve(page, None, port=0)
    ExplorerServer(page, None, port=ports[0]).server_close()
