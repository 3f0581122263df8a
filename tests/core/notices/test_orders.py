"""Notice orders: what is written is what is read, and anything else is refused."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.notices.orders import (
    ADDRESS_CHARS_MAX,
    EPOCHS_MAX,
    HELD_BACK_MAX,
    LINK_CHARS_MAX,
    TIME_MS_MAX,
    NoticeError,
    order_claims,
    parse_order,
    parse_receipt,
    receipt_claims,
)
from broker.core.words.money import Money
from broker.core.words.notice import Carried, CarriedState, NoticeForm, NoticeKind
from tests.support.notices.orders import AT, ISSUER, ORDER_ID, notice, order

BASE = f"{ISSUER}/console"


@given(
    kind=st.sampled_from(NoticeKind),
    units=st.none() | st.integers(0, 10**12),
    held_back=st.integers(0, HELD_BACK_MAX),
    lasts=st.none() | st.timedeltas(timedelta(0), timedelta(days=30)),
)
def test_an_order_survives_being_written_and_read(kind, units, held_back, lasts):
    whole_ms = None if lasts is None else timedelta(seconds=int(lasts.total_seconds()))
    told = notice(
        kind=kind,
        amount=None if units is None else Money(units, "USD"),
        held_back=held_back,
        expires_at=None if whole_ms is None else AT + whole_ms,
    )
    written = order(notice=told)
    assert parse_order(order_claims(written, issuer=ISSUER)) == written


@pytest.mark.parametrize("name", sorted(order_claims(order(), issuer=ISSUER)))
def test_a_claim_that_is_missing_or_of_another_type_is_refused(name):
    claims = order_claims(order(), issuer=ISSUER)
    with pytest.raises(NoticeError):
        parse_order({key: value for key, value in claims.items() if key != name})
    wrongs: tuple[object, ...] = (None, -1, [], {"x": {}}, "Ä\n")
    for wrong in wrongs:
        with pytest.raises(NoticeError):
            parse_order(claims | {name: wrong})


@pytest.mark.parametrize("name", sorted(order_claims(order(), issuer=ISSUER)["notice"]))
def test_a_part_of_the_notice_that_is_no_such_thing_is_refused(name):
    claims = order_claims(order(), issuer=ISSUER)
    said = claims["notice"]
    with pytest.raises(NoticeError):
        parse_order(claims | {"notice": {k: v for k, v in said.items() if k != name}})
    wrongs: tuple[object, ...] = (-1, [], {}, "Ä\n", True)
    for wrong in wrongs:
        with pytest.raises(NoticeError):
            parse_order(claims | {"notice": said | {name: wrong}})


def test_there_is_no_claim_for_a_customers_name_or_words():
    claims = order_claims(order(), issuer=ISSUER)
    for name in ("customer", "customer_ref", "text", "reason", "arguments", "subject"):
        with pytest.raises(NoticeError, match="not known"):
            parse_order(claims | {"notice": claims["notice"] | {name: "Ann"}})


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.test/console/approvals/1",
        "http://broker.test.evil.test/console",
        "http://broker.test/oauth/authorize",
        "javascript:alert(1)",
        BASE + "/a b",
        "",
    ],
)
def test_a_link_that_does_not_lead_to_the_console_is_refused(link):
    with pytest.raises(NoticeError, match="link"):
        parse_order(order_claims(order(notice=notice(link=link)), issuer=ISSUER))


def test_a_mail_has_an_address_and_nothing_else_has():
    mail = order(form=NoticeForm.MAIL, to="ann@shop.test")
    assert parse_order(order_claims(mail, issuer=ISSUER)) == mail
    for wrong in (order(form=NoticeForm.MAIL), order(to="ann@shop.test")):
        with pytest.raises(NoticeError, match="to"):
            parse_order(order_claims(wrong, issuer=ISSUER))


def test_a_tools_connector_cannot_be_named():
    with pytest.raises(NoticeError, match="connector"):
        parse_order(order_claims(order(connector="retail"), issuer=ISSUER))


def test_lengths_and_counts_are_taken_at_the_limit_and_not_one_past_it():
    def read(**changes):
        return parse_order(order_claims(order(**changes), issuer=ISSUER))

    def address(length):
        return "a" * (length - 10) + "@shop.test"

    longest = BASE + "/" + "a" * (LINK_CHARS_MAX - len(BASE) - 1)
    epochs = tuple((f"subscription:c{n}", n) for n in range(EPOCHS_MAX))
    read(form=NoticeForm.MAIL, to=address(ADDRESS_CHARS_MAX))
    read(notice=notice(link=longest, held_back=HELD_BACK_MAX))
    read(epochs=epochs)
    read(epochs=(("subscription:c", TIME_MS_MAX),))
    for wrong in (
        {"form": NoticeForm.MAIL, "to": address(ADDRESS_CHARS_MAX + 1)},
        {"notice": notice(link=longest + "a")},
        {"notice": notice(held_back=HELD_BACK_MAX + 1)},
        {"epochs": (*epochs, ("subscription:more", 0))},
        {"epochs": (("subscription:c", TIME_MS_MAX + 1),)},
    ):
        with pytest.raises(NoticeError):
            read(**wrong)


@given(state=st.sampled_from(CarriedState), status=st.integers(0, 999))
def test_a_receipt_survives_being_written_and_read(state, status):
    carried = Carried(state, status, "receiver_refused")
    said = receipt_claims(carried, order_id=ORDER_ID, edge="e", boot="b", now=AT)
    assert parse_receipt(said, order_id=ORDER_ID) == carried
    with pytest.raises(NoticeError, match="order"):
        parse_receipt(said, order_id=ORDER_ID.replace("e002", "e009"))
    for name in said:
        with pytest.raises(NoticeError):
            parse_receipt(
                {k: v for k, v in said.items() if k != name}, order_id=ORDER_ID
            )
    for wrong in ({"state": "sent"}, {"status": 1_000}, {"code": "Ä"}):
        with pytest.raises(NoticeError):
            parse_receipt(said | wrong, order_id=ORDER_ID)
