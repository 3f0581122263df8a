"""What a notice says: one event, one mail, one line of chat, and never a name."""

import pytest

from broker.core.canonical import canonical
from broker.core.notices.bodies import body_of, content_type, event_type
from broker.core.words.notice import NoticeForm, NoticeKind
from broker.edge.egress.mail import parse_mail
from tests.support.notices.orders import APPROVAL_ID, ISSUER, NOTICE_ID, notice, order


def test_an_event_is_a_cloud_event_with_reference_amount_and_link() -> None:
    body = body_of(order(), source=ISSUER)
    assert body == {
        "specversion": "1.0",
        "id": NOTICE_ID,
        "source": ISSUER,
        "type": "counterfoil.approval.asked",
        "subject": APPROVAL_ID,
        "time": "2026-11-23T12:00:00.000000Z",
        "datacontenttype": "application/json",
        "data": {
            "reference": APPROVAL_ID,
            "tool": "orders.refund",
            "role": "supervisor",
            "amount_minor_units": 31_000,
            "currency": "USD",
            "expires_at": "2026-11-24T12:00:00.000000Z",
            "link": f"{ISSUER}/console/approvals/{APPROVAL_ID}",
            "held_back": 0,
        },
    }
    assert content_type(NoticeForm.EVENT) == b"application/cloudevents+json"


@pytest.mark.parametrize("kind", NoticeKind)
def test_every_kind_is_a_mail_that_the_edge_can_send(kind: NoticeKind) -> None:
    told = notice(kind=kind, reject_link=f"{ISSUER}/console/reject?t=abc", held_back=3)
    made = order(form=NoticeForm.MAIL, to="ann@shop.test", notice=told)
    mail = parse_mail(canonical(body_of(made, source=ISSUER)))
    assert mail.to == "ann@shop.test"
    assert mail.subject.endswith(": 310.00 USD")
    assert told.link in mail.text
    assert told.reject_link in mail.text
    assert "3 more were not sent" in mail.text
    assert "A mail approves nothing" in mail.text


def test_every_kind_has_an_event_type_of_its_own() -> None:
    assert len({event_type(kind) for kind in NoticeKind}) == len(NoticeKind)


def test_a_chat_gets_one_line_with_a_link_and_no_way_to_reject() -> None:
    told = notice(reject_link=f"{ISSUER}/console/reject?t=abc")
    body = body_of(order(form=NoticeForm.CHAT, notice=told), source=ISSUER)
    assert set(body) == {"text"}
    assert "\n" not in body["text"]
    assert told.link in body["text"]
    assert "reject" not in body["text"]
