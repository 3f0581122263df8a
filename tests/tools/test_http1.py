"""The child's HTTP client: plain exchanges work, and a hostile peer gets nowhere."""

from __future__ import annotations

import socket
import threading
from typing import Self

import pytest

from tools.http1 import Connection, HttpError
from tools.limits import HTTP_BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX


class Peer:
    """The other end: sends prepared bytes, keeps what came."""

    def __init__(self, *answers: bytes) -> None:
        self.ours, theirs = socket.socketpair()
        self.connection = Connection(self.ours.fileno())
        self.got = b""
        self._thread = threading.Thread(target=self._play, args=(theirs, answers))
        self._thread.start()

    def _play(self, theirs: socket.socket, answers: tuple[bytes, ...]) -> None:
        with theirs:
            for answer in answers:
                self.got += theirs.recv(65_536)
                theirs.sendall(answer)

    def get(self, path: str = "/") -> tuple[int, dict[str, str], bytes]:
        return self.connection.exchange("GET", path, headers={}, body=b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ours.close()
        self._thread.join()


def ok(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


def test_a_request_and_its_response_are_exchanged():
    with Peer(ok(b"hello", b"Content-Type: text/plain")) as peer:
        status, headers, body = peer.connection.exchange(
            "POST", "/a?b=c", headers={"content-type": "x/y"}, body=b"1234"
        )
        assert (status, body) == (200, b"hello")
        assert headers["content-type"] == "text/plain"
        assert peer.got == (
            b"POST /a?b=c HTTP/1.1\r\nhost: edge\r\ncontent-type: x/y\r\n"
            b"content-length: 4\r\n\r\n1234"
        )


def test_one_connection_carries_several_exchanges():
    with Peer(ok(b"one"), ok(b"two")) as peer:
        assert peer.get()[2] == b"one"
        assert peer.get()[2] == b"two"


def test_a_response_in_many_pieces_is_put_together():
    pieces = [ok(b"abc")[at : at + 1] for at in range(len(ok(b"abc")))]
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def drip() -> None:
            theirs.recv(1_000)
            for piece in pieces:
                theirs.sendall(piece)

        thread = threading.Thread(target=drip)
        thread.start()
        answer = Connection(ours.fileno()).exchange("GET", "/", headers={}, body=b"")
        thread.join()
    assert answer[2] == b"abc"


def test_an_early_refusal_is_read_even_if_the_request_was_not():
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(b"HTTP/1.1 413 no\r\ncontent-length: 0\r\n\r\n")
        theirs.shutdown(socket.SHUT_RD)
        status, _, _ = Connection(ours.fileno()).exchange(
            "POST", "/", headers={}, body=b"x" * 10_000_000
        )
        theirs.close()
    assert status == 413


def test_a_status_without_a_body_has_none():
    with Peer(b"HTTP/1.1 204 \r\n\r\n") as peer:
        assert peer.get()[2] == b""


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 999 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nbody until the end",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0x1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ncontent-length : 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\n folded: 1\r\ncontent-length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\ncontent-length: 1\n\na\r\n\r\n",
        b"garbage\r\n\r\n",
    ],
)
def test_a_response_that_is_cut_off_or_malformed_is_refused(answer):
    with Peer(answer) as peer, pytest.raises(HttpError):
        peer.get()


def test_nothing_is_asked_on_a_connection_that_failed_or_closes():
    with Peer(b"garbage\r\n\r\n") as peer:
        for _ in range(2):
            with pytest.raises(HttpError):
                peer.get()
    with Peer(ok(b"last", b"Connection: close")) as peer:
        assert peer.get()[2] == b"last"
        with pytest.raises(HttpError):
            peer.get()


def test_bytes_that_nobody_asked_for_end_the_connection():
    with Peer(ok(b"one") + ok(b"smuggled")) as peer:
        assert peer.get()[2] == b"one"
        with pytest.raises(HttpError):
            peer.get()


def test_a_body_is_taken_at_its_longest_and_refused_one_byte_past_it():
    with Peer(ok(b"x" * HTTP_BODY_BYTES_MAX)) as peer:
        assert len(peer.get()[2]) == HTTP_BODY_BYTES_MAX
    more = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (HTTP_BODY_BYTES_MAX + 1)
    with Peer(more) as peer, pytest.raises(HttpError):
        peer.get()


def test_a_head_is_taken_at_its_longest_and_refused_one_byte_past_it():
    line = b"HTTP/1.1 204 \r\nx: "
    longest = line + b"y" * (HTTP_HEAD_BYTES_MAX - len(line))
    with Peer(longest + b"\r\n\r\n") as peer:
        assert peer.get()[0] == 204
    with Peer(longest + b"y\r\n\r\n") as peer, pytest.raises(HttpError):
        peer.get()


def test_headers_are_counted():
    lines = b"".join(b"x%d: y\r\n" % number for number in range(HTTP_HEADERS_MAX))
    with Peer(b"HTTP/1.1 204 \r\n" + lines + b"\r\n") as peer:
        assert len(peer.get()[1]) == HTTP_HEADERS_MAX
    one_more = b"HTTP/1.1 204 \r\n" + lines + b"z: y\r\n\r\n"
    with Peer(one_more) as peer, pytest.raises(HttpError):
        peer.get()


@pytest.mark.parametrize(
    ("method", "target", "header"),
    [
        ("GET", "/a b", "plain"),
        ("GET", "/a\r\nx: y", "plain"),
        ("GET", "a", "plain"),
        ("GET", "http://other/", "plain"),
        ("GET", "/é", "plain"),
        ("get", "/", "plain"),
        ("GET", "/", "a\r\nb: c"),
    ],
)
def test_a_request_that_would_smuggle_a_line_is_not_written(method, target, header):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(ValueError, match=r"target|value"):
            Connection(ours.fileno()).exchange(
                method, target, headers={"accept": header}, body=b""
            )
        theirs.settimeout(0)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
