"""A submission server whose answers a test decides."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64decode
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default


@dataclass
class FakeMail:
    """It keeps what it was sent; ``says`` replaces an answer, by command."""

    says: dict[str, bytes | None] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)
    mails: list[Message] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    connections: int = 0
    _server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=context
        )

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        try:
            await self._answer(writer, "BANNER", b"220 mail.test ESMTP\r\n")
            while line := await reader.readline():
                self.lines.append(line)
                word = line[:4].upper().strip().decode()
                if word == "AUTH":
                    _, user, password = b64decode(line.split()[2]).split(b"\x00")
                    self.logins.append((user, password))
                usual = {
                    "EHLO": b"250-mail.test\r\n250-AUTH PLAIN\r\n250 8BITMIME\r\n",
                    "AUTH": b"235 welcome\r\n",
                    "DATA": b"354 go on\r\n",
                }.get(word, b"250 fine\r\n")
                if not await self._answer(writer, word, usual):
                    return
                if word == "DATA" and "DATA" not in self.says:
                    data = await reader.readuntil(b"\r\n.\r\n")
                    text = data[:-3].replace(b"\r\n..", b"\r\n.")
                    self.mails.append(message_from_bytes(text, policy=default))
                    if not await self._answer(writer, "END", b"250 queued\r\n"):
                        return
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, writer: asyncio.StreamWriter, word: str, usual: bytes
    ) -> bool:
        """Answer; return whether the conversation goes on."""
        said = self.says.get(word, usual)
        if said is None:
            return False
        writer.write(said)
        await writer.drain()
        return True
