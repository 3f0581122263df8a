"""Hand a mail to a submission server, by the same rules as any other request.

To a manifest a mail is a ``POST`` whose body is exactly ``to``, ``subject`` and
``text``. The edge writes the message itself: one recipient, the credential's sender,
plain text. A server that took it makes the answer 202; one that surely did not, 422
(for good) or 503 (for now).

Source: RFC 5321 (SMTP), RFC 8314 (implicit TLS), RFC 4954 and 4616 (AUTH PLAIN),
RFC 3834 (Auto-Submitted).
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

import httpcore

from broker.core.canonical import CanonicalError, canonical, parse_json
from broker.edge.egress.addresses import AddressError, CheckedNetwork, look_up
from broker.edge.egress.tls import PinError, context_of
from broker.edge.egress.upstream import (
    CONNECT_S_MAX,
    Answer,
    Outgoing,
    UpstreamError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from broker.edge.egress.route import Route

ADDRESS_CHARS_MAX: Final = 254
SUBJECT_CHARS_MAX: Final = 200
TEXT_CHARS_MAX: Final = 20_000
REPLY_BYTES_MAX: Final = 8_192

ADDRESS: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_BODY_BYTES = 131_072
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")
_TEXT_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_REPLY = re.compile(rb"([2-5][0-9]{2})([ -])[^\r\n]*\r\n")
_TAKEN, _REFUSED, _LATER = 202, 422, 503
_PERMANENT = 500


class _RefusedError(Exception):
    """The server said no before it could have taken the mail."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it was decided."""

    to: str
    subject: str
    text: str


def parse_mail(body: bytes | None) -> Mail:
    """Read the body that the manifest made.

    Raises:
        UpstreamError: ``mail_malformed``: other fields, or a value that no mail can
            have. Nothing is sent.
    """
    try:
        said = parse_json(body or b"", bytes_max=_BODY_BYTES, depth_max=2)
    except CanonicalError:
        said = None
    if isinstance(said, dict) and said.keys() == {"to", "subject", "text"}:
        to, subject, text = said["to"], said["subject"], said["text"]
        if (
            isinstance(to, str)
            and len(to) <= ADDRESS_CHARS_MAX
            and ADDRESS.fullmatch(to)
            and isinstance(subject, str)
            and 0 < len(subject) <= SUBJECT_CHARS_MAX
            and not _CONTROL.search(subject)
            and isinstance(text, str)
            and len(text) <= TEXT_CHARS_MAX
            and not _TEXT_CONTROL.search(text)
        ):
            return Mail(to, subject, text)
    code, detail = "mail_malformed", "a mail has one address, a subject and a text"
    raise UpstreamError(code, detail, sent=False)


def message(mail: Mail, *, sender: str, key: str, now: datetime) -> bytes:
    """Return the message as it is sent, dots not yet doubled.

    The warrant's key makes the Message-ID: the same order is the same message.
    """
    made = EmailMessage(policy=SMTP)
    made["From"] = sender
    made["To"] = mail.to
    made["Subject"] = mail.subject
    made["Date"] = format_datetime(now)
    made["Message-ID"] = f"<{key}@{sender.rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(mail.text, cte="quoted-printable")
    return made.as_bytes()


class MailUpstream:
    """One submission server; every mail has a connection of its own."""

    def __init__(
        self,
        route: Route,
        *,
        now: Callable[[], datetime],
        resolve: Callable[[str, int], Awaitable[list[str]]] = look_up,
    ) -> None:
        """Prepare; nothing is dialled yet.

        Raises:
            TlsError: Certificate and key do not belong together, or are none.
        """
        self._endpoint = route.endpoint
        secure = route.endpoint.scheme == "smtps"
        self._context = context_of(route.tls) if secure else None
        self._network = CheckedNetwork(
            allow_private=route.allow_private, resolve=resolve, pins=route.tls.pins
        )
        self._now = now

    async def send(
        self, outgoing: Outgoing, *, guard: Callable[[], Awaitable[None]]
    ) -> Answer:
        """Hand over one mail.

        Args:
            outgoing: A POST whose headers are Authorization and From.
            guard: Awaited when the server has taken the credential and before it hears
                of the mail; raising there keeps it from being sent.

        Raises:
            UpstreamError: The server did not say whether it took the mail.
        """
        mail, began = parse_mail(outgoing.body), time.monotonic()
        talk = _Talk()
        try:
            async with asyncio.timeout(outgoing.timeout_s):
                status = await self._hand_over(talk, mail, outgoing, guard)
        except UpstreamError:
            raise
        except (TimeoutError, httpcore.TimeoutException):
            problem, detail = "upstream_timeout", "no answer in time"
        except AddressError as error:
            problem, detail = "address_refused", str(error)
        except PinError as error:
            problem, detail = "pin_refused", str(error)
        except (httpcore.ConnectError, ssl.SSLError):
            problem, detail = "upstream_unreachable", "no connection"
        except (httpcore.NetworkError, OSError, ValueError):
            problem, detail = "upstream_broken", "the connection broke"
        else:
            body = canonical({"accepted": status == _TAKEN})
            return Answer(
                status=status,
                content_type="application/json",
                body=body,
                address=talk.address,
                ms=round((time.monotonic() - began) * 1000),
            )
        finally:
            await talk.close()
        raise UpstreamError(problem, detail, sent=talk.sent) from None

    async def close(self) -> None:
        """Do nothing: no connection is kept."""

    async def _hand_over(
        self,
        talk: _Talk,
        mail: Mail,
        outgoing: Outgoing,
        guard: Callable[[], Awaitable[None]],
    ) -> int:
        headers = dict(outgoing.headers)
        sender = headers[b"From"].decode("ascii")
        host = self._endpoint.host
        stream = await self._network.connect_tcp(
            host, self._endpoint.port, timeout=CONNECT_S_MAX
        )
        talk.begin(stream)
        if self._context is not None:
            stream = await stream.start_tls(self._context, host, CONNECT_S_MAX)
            talk.begin(stream)
        try:
            await talk.expect(b"", 220)
            await talk.expect(b"EHLO counterfoil-edge\r\n", 250)
            await talk.expect(_plain(headers[b"Authorization"]), 235)
        except _RefusedError as error:
            code, detail = "upstream_unreachable", f"the mail server said {error.code}"
            raise UpstreamError(code, detail, sent=False) from None
        await guard()
        text = message(mail, sender=sender, key=outgoing.key, now=self._now())
        try:
            await talk.expect(b"MAIL FROM:<%s>\r\n" % sender.encode("ascii"), 250)
            await talk.expect(b"RCPT TO:<%s>\r\n" % mail.to.encode("ascii"), 250, 251)
            await talk.expect(b"DATA\r\n", 354)
            # From here on the server may have the mail, whatever it says or does not.
            talk.sent = True
            await talk.expect(_dotted(text), 250)
        except _RefusedError as error:
            return _REFUSED if error.code >= _PERMANENT else _LATER
        return _TAKEN


class _Talk:
    """A conversation: what was said on it, and whether a mail may have gone."""

    def __init__(self) -> None:
        self.sent = False
        self.address = ""
        self._stream: httpcore.AsyncNetworkStream | None = None
        self._heard = b""

    def begin(self, stream: httpcore.AsyncNetworkStream) -> None:
        """Speak over a stream; nothing that was heard before counts."""
        self._stream, self._heard = stream, b""
        peer = stream.get_extra_info("server_addr")
        if peer:
            self.address = f"{peer[0]}:{peer[1]}"

    async def expect(self, said: bytes, *codes: int) -> None:
        """Say something, and require one of these answers.

        Raises:
            _RefusedError: The server gave another one.
            ValueError: It gave none that SMTP knows.
        """
        assert self._stream is not None  # noqa: S101  (begun before)
        if said:
            await self._stream.write(said)
        code = await self._reply()
        if code not in codes:
            raise _RefusedError(code)

    async def _reply(self) -> int:
        assert self._stream is not None  # noqa: S101  (begun before)
        size = 0
        while True:
            line, found, rest = self._heard.partition(b"\n")
            if not found:
                part = await self._stream.read(4_096)
                size += len(part)
                if not part or size > REPLY_BYTES_MAX:
                    msg = "no reply"
                    raise ValueError(msg)
                self._heard += part
                continue
            self._heard = rest
            match = _REPLY.fullmatch(line + b"\n")
            if match is None:
                msg = "no reply of SMTP"
                raise ValueError(msg)
            if match[2] == b" ":
                if rest:
                    # An answer to what was not asked yet: somebody speaks between.
                    msg = "more than one reply"
                    raise ValueError(msg)
                return int(match[1])

    async def close(self) -> None:
        """Hang up; what matters was said."""
        if self._stream is not None:
            await self._stream.aclose()


def _plain(authorization: bytes) -> bytes:
    """Return AUTH PLAIN for the user and password of a Basic header."""
    user, _, password = b64decode(authorization.partition(b" ")[2]).partition(b":")
    return b"AUTH PLAIN " + b64encode(b"\x00" + user + b"\x00" + password) + b"\r\n"


def _dotted(text: bytes) -> bytes:
    """Return a message with its dots doubled and its end (RFC 5321, section 4.5.2)."""
    if not text.endswith(b"\r\n"):
        text += b"\r\n"
    if text.startswith(b"."):
        text = b"." + text
    return text.replace(b"\r\n.", b"\r\n..") + b".\r\n"
