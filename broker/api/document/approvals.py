"""Examples of how people share the work on approvals, and of questions."""

from __future__ import annotations

from typing import Any, Final

APPROVAL: Final = "0197a000-0000-7000-8000-0000000000e2"
QUESTION: Final = "0197a000-0000-7000-8000-0000000000e6"
_PERSON: Final = "0197a000-0000-7000-8000-0000000000e5"
_DEPUTY: Final = "0197a000-0000-7000-8000-0000000000e7"
_JWS: Final = "eyJhbGciOiJFUzI1NiIsImtpZCI6Ii4uLiIsInR5cCI6Ii4uLiJ9.e30.c2ln"
_UNTIL: Final = "2026-11-30T08:00:00.000000Z"
_CLAIM: Final = ("POST", "/v1/approvals/{approval_id}/claim")

APPROVAL_REQUESTS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("POST", "/v1/approvals/rejections"): {
        "votes": [{"approval": APPROVAL, "vote": _JWS}]
    },
    ("POST", "/v1/approvals/{approval_id}/questions"): {
        "question": "Which of the two parcels arrived broken?"
    },
    ("PUT", "/v1/approvals/away"): {"deputy": _DEPUTY, "until": _UNTIL},
    ("POST", "/v1/actions/{action_id}/answers"): {
        "question_id": QUESTION,
        "answer": "The customer wrote that it was the second one.",
    },
}
APPROVAL_ANSWERS: Final[dict[tuple[str, str, str], dict[str, Any]]] = {
    (*_CLAIM, "200"): {
        "approval": APPROVAL,
        "claimed_by": _PERSON,
        "claimed_until": "2026-11-26T09:25:00.120000Z",
    },
    (*_CLAIM, "409"): {
        "type": "/errors/approval-claimed",
        "title": "Somebody else works on this approval",
        "status": 409,
        "code": "approval-claimed",
        "detail": "somebody else works on this approval",
        "hint": "wait until 2026-11-26T09:25:00.120000Z",
    },
    ("DELETE", "/v1/approvals/{approval_id}/claim", "200"): {
        "approval": APPROVAL,
        "released": True,
    },
    ("POST", "/v1/approvals/{approval_id}/questions", "201"): {
        "approval": APPROVAL,
        "question": QUESTION,
    },
    ("POST", "/v1/approvals/{approval_id}/votes", "429"): {
        "type": "/errors/approvals-capped",
        "title": "Too many approvals within an hour",
        "status": 429,
        "code": "approvals-capped",
        "detail": "more than 60 approvals within an hour",
        "hint": "somebody else may approve it; to reject it is always possible",
    },
    ("POST", "/v1/approvals/rejections", "200"): {
        "results": [
            {
                "approval": APPROVAL,
                "vote": "0197a000-0000-7000-8000-0000000000e8",
                "state": "rejected",
                "approved": 0,
                "approvers_min": 1,
            },
            {"approval": "0197a000-0000-7000-8000-0000000000e9", "code": "conflict"},
        ]
    },
    ("GET", "/v1/approvals/away", "200"): {
        "away": {"deputy": _DEPUTY, "until": _UNTIL}
    },
    ("PUT", "/v1/approvals/away", "200"): {
        "away": {"deputy": _DEPUTY, "until": _UNTIL},
        "handed_over": 2,
    },
    ("DELETE", "/v1/approvals/away", "200"): {"away": None},
}
