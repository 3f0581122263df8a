"""Carry notices: what people are told, under a single-use order of its own kind.

An order names a connector whose name begins with ``notify_`` and that no manifest uses,
so that a notice can never spend a tool's credential, nor a tool a notice's. What is
sent is made here, from templates. A notice moves nothing: it is sent at least once and
its receiver knows it again, so it has no place in the journal.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from broker.core.canonical import canonical
from broker.core.jws import JwsError, claims_of, sign, unpack, verify
from broker.core.notices.bodies import body_of, content_type
from broker.core.notices.orders import NoticeError, parse_order, receipt_claims
from broker.core.words.notice import (
    NOTICE_RECEIPT_TYP,
    NOTICE_TYP,
    Carried,
    CarriedState,
    NoticeForm,
)
from broker.edge.calls import EPOCHS_AGE_S_MAX, Means
from broker.edge.egress.echo import echoes
from broker.edge.egress.upstream import Outgoing, UpstreamError
from broker.edge.store import StoreError
from broker.edge.vault.kinds import PATH, WEBHOOK, VaultError
from broker.edge.warrants import (
    DRAINING,
    EXPIRED,
    INVALID,
    NO_CREDENTIAL,
    NO_EPOCHS,
    REVOKED,
    SKEW_S_MAX,
    SPENT,
    TOO_BUSY,
    WRONG_EDGE,
    RefusedError,
)

if TYPE_CHECKING:
    from broker.core.words.notice import NoticeOrder
    from broker.edge.desk import Desk, Post
    from broker.edge.store import Epochs
    from broker.edge.vault.access import Access

CARRIED_MAX: Final = 16
"""Notices at work at once; calls are not kept waiting for them."""

NOTICE_S_MAX: Final = 3.5
"""How long a receiver has to answer; the runner waits a little longer for us."""

ANSWER_BYTES_MAX: Final = 65_536
ECHO: Final = "credential_echo"

_TAKEN = range(200, 300)
_GONE = frozenset({410, 422})

_log = structlog.get_logger()


class Courier:
    """Takes orders, sends what they say, and signs what came of it."""

    def __init__(self, post: Post, desk: Desk, means: Means) -> None:
        """Work with what calls work with."""
        self._post = post
        self._desk = desk
        self._means = means
        self._taken = frozenset(tool.connector for tool in post.tools.values())
        self._at_work = 0

    async def carry(self, token: str) -> str:
        """Spend an order, send its notice, and return the signed receipt.

        Raises:
            RefusedError: The order is not accepted; nothing was sent.
        """
        if self._desk.draining:
            raise RefusedError(DRAINING, "the edge is stopping")
        if self._at_work >= CARRIED_MAX:
            raise RefusedError(TOO_BUSY, f"{CARRIED_MAX} notices are at work")
        order, source = self._examine(token)
        self._at_work += 1
        try:
            carried = await self._carried(order, source, await self._spend(order))
        finally:
            self._at_work -= 1
        write = _log.info if carried.state is CarriedState.TAKEN else _log.warning
        write(
            "notice",
            order=order.order_id,
            notice=order.notice.notice_id,
            kind=order.notice.kind.value,
            connector=order.connector,
            state=carried.state.value,
            status=carried.status,
            problem=carried.code,
        )
        here = self._post.here
        claims = receipt_claims(
            carried,
            order_id=order.order_id,
            edge=here.edge,
            boot=here.boot,
            now=self._post.now(),
        )
        return sign(claims, key=self._post.identity.key, typ=NOTICE_RECEIPT_TYP)

    def _examine(self, token: str) -> tuple[NoticeOrder, str]:
        post, here = self._post, self._post.here
        try:
            claims = verify(token, keys=post.keys, typ=NOTICE_TYP)
            order = parse_order(claims)
            source = str(claims_of(unpack(token))["iss"])
        except JwsError as error:
            raise RefusedError(INVALID, f"signature: {error.problem}") from None
        except NoticeError as error:
            raise RefusedError(INVALID, str(error)) from None
        named = (order.edge, order.boot, order.tenant, order.environment)
        if named != (here.edge, here.boot, here.tenant, here.environment):
            raise RefusedError(WRONG_EDGE, "made out to another edge or environment")
        now = post.now()
        if order.expires_at <= now:
            raise RefusedError(EXPIRED, "the order has expired")
        if order.issued_at > now + timedelta(seconds=SKEW_S_MAX):
            raise RefusedError(INVALID, "the order was issued in the future")
        if order.connector in self._taken:
            raise RefusedError(INVALID, "this connector belongs to a tool")
        return order, source

    async def _spend(self, order: NoticeOrder) -> Epochs:
        try:
            fresh, epochs = await self._post.store.spend(order)
        except StoreError as error:
            raise RefusedError(NO_EPOCHS, str(error)) from None
        if not fresh:
            raise RefusedError(SPENT, "the order was spent before")
        if epochs.revoked(order.epochs):
            raise RefusedError(REVOKED, "the channel was removed")
        return epochs

    async def _carried(
        self, order: NoticeOrder, source: str, epochs: Epochs
    ) -> Carried:
        access = await self._access(order)
        body = canonical(body_of(order, source=source))
        key = order.notice.notice_id
        outgoing = Outgoing(
            method="POST",
            target=_target(access),
            body=body,
            headers=access.headers_for(body, at_s=int(time.time()), key=key),
            key_header="",
            key=key,
            fresh=True,
            timeout_s=NOTICE_S_MAX,
            response_bytes_max=ANSWER_BYTES_MAX,
            content_type=content_type(order.form),
        )

        async def guard() -> None:
            await self._still(order, epochs)

        try:
            answer = await self._means.send(access.route, outgoing, guard)
        except UpstreamError as error:
            return Carried(CarriedState.LATER, error.status, error.code)
        if any(echoes(answer.body, secret) for secret in access.secrets):
            return Carried(CarriedState.REFUSED, answer.status, ECHO)
        if answer.status in _TAKEN:
            return Carried(CarriedState.TAKEN, answer.status)
        state = CarriedState.REFUSED if answer.status in _GONE else CarriedState.LATER
        return Carried(state, answer.status, "receiver_refused")

    async def _still(self, order: NoticeOrder, epochs: Epochs) -> None:
        """Look again before the first byte: a channel may have been removed meanwhile.

        Raises:
            RefusedError: It was, or nobody can say.
        """
        if order.expires_at <= self._post.now():
            raise RefusedError(EXPIRED, "the order has expired")
        if time.monotonic() - epochs.asked_at <= EPOCHS_AGE_S_MAX:
            return
        try:
            now = await self._means.epochs([scope for scope, _ in order.epochs])
        except StoreError as error:
            raise RefusedError(NO_EPOCHS, str(error)) from None
        if now.revoked(order.epochs):
            raise RefusedError(REVOKED, "the channel was removed")

    async def _access(self, order: NoticeOrder) -> Access:
        try:
            async with asyncio.timeout(NOTICE_S_MAX):
                access = await self._means.access(order.connector)
        except (StoreError, VaultError, TimeoutError) as error:
            raise RefusedError(NO_CREDENTIAL, str(error)) from None
        if access is None:
            raise RefusedError(NO_CREDENTIAL, "the connector has no credential")
        if _form_of(access) is not order.form:
            detail = "the connector's credential is for another form of notice"
            raise RefusedError(NO_CREDENTIAL, detail)
        return access


def _form_of(access: Access) -> NoticeForm | None:
    """Return the one form that a credential can carry; a web hook is always signed."""
    if access.credential.endpoint.is_mail:
        return NoticeForm.MAIL
    forms = {WEBHOOK: NoticeForm.EVENT, PATH: NoticeForm.CHAT}
    return forms.get(access.credential.kind)


def _target(access: Access) -> str:
    """Return the root, or nothing where the base URL names a path already."""
    return access.target("/" if not access.credential.endpoint.prefix else "")
