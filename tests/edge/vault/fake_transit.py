"""A small server that speaks the transit API of Vault and OpenBao, on loopback.

It keeps one key per name, wraps with AES-256-GCM bound to ``associated_data``, and asks
for a token. Source: HashiCorp Vault, transit secrets engine, HTTP API.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from base64 import b64decode, b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.token-of-the-transit-tests"


class FakeTransit:
    """The server; ``token`` is what it takes, ``slow_s`` how long it thinks."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {"edge-dev": secrets.token_bytes(32)}
        self.token = TOKEN
        self.slow_s = 0.0
        self.answer: Any = None
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        handler = type("Handler", (_Handler,), {"transit": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def act(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return status and document for ``/v1/transit/encrypt|decrypt/NAME``."""
        _, _, mount, verb, name = path.split("/")
        key = self.keys.get(name)
        if mount != "transit" or key is None:
            return 404, {"errors": ["no such key"]}
        bound = b64decode(body.get("associated_data", ""))
        if verb == "encrypt":
            nonce = secrets.token_bytes(12)
            sealed = AESGCM(key).encrypt(nonce, b64decode(body["plaintext"]), bound)
            text = b64encode(nonce + sealed).decode()
            return 200, {"data": {"ciphertext": f"vault:v1:{text}", "key_version": 1}}
        data = b64decode(body["ciphertext"].removeprefix("vault:v1:"))
        try:
            plain = AESGCM(key).decrypt(data[:12], data[12:], bound)
        except InvalidTag:
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": b64encode(plain).decode()}}


class _Handler(BaseHTTPRequestHandler):
    transit: ClassVar[FakeTransit]

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = json.loads(self.rfile.read(length))
        self.transit.asked.append((self.path, body, dict(self.headers)))
        time.sleep(self.transit.slow_s)
        if self.headers.get("x-vault-token") != self.transit.token:
            status, said = 403, {"errors": ["permission denied"]}
        else:
            status, said = self.transit.act(self.path, body)
        data = json.dumps(self.transit.answer or said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_PUT = do_POST  # noqa: N815  (the base class's name)

    def log_message(self, *_: object) -> None:
        pass
