"""Guess from words what paths and fields are about. Guesses; a person is asked."""

from __future__ import annotations

import re
from typing import Final

SENTENCE_CHARS_MAX: Final = 300

CUSTOMERS: Final = frozenset(
    {
        *("customer", "user", "requester", "contact", "account", "client", "member"),
        *("subscriber", "person", "end_user", "shopper", "buyer", "guest", "patient"),
    }
)
_VERBS: Final = frozenset(
    {
        *("accept", "activate", "apply", "approve", "archive", "assign", "block"),
        *("cancel", "capture", "change", "close", "complete", "confirm", "disable"),
        *("enable", "escalate", "exchange", "expire", "grant", "hold", "lock"),
        *("merge", "pause", "pay", "refund", "reject", "release", "remove", "renew"),
        *("reopen", "replace", "reset", "resolve", "resume", "return", "revoke"),
        *("send", "ship", "solve", "start", "stop", "submit", "suspend", "terminate"),
        *("transfer", "unblock", "unlock", "unsubscribe", "update", "verify", "void"),
    }
)
_SEARCHES: Final = frozenset({"find", "search", "query", "lookup", "filter", "list"})
_AMOUNT = re.compile(r"(^|_)(amount|total|price|sum|cents|minor_units)(_|$)")
_TEXT = re.compile(
    r"(^|_)(text|body|note|notes|comment|comments|message|description|subject|reason"
    r"|title|content|details|summary|remark|remarks|html|markdown)$"
)
_ID = re.compile(r"(^|_)(id|ids|uuid|guid|number|key|ref)$")
_SECRET = re.compile(
    r"(^|_)(secret|token|password|passcode|cvc|cvv|pin|api_key|iban|ssn|card_number)s?$"
)
_MONEY = re.compile(r"\b(refund|payment|payout|charge|transfer|pay|reimburse)")
_IDENTITY = re.compile(
    r"\b(password|credential|mfa|otp|two_factor|login|session|identity|email|phone"
    r"|address|access)"
)
_ENTITLEMENT = re.compile(
    r"\b(subscription|plan|entitlement|offer|coupon|discount|licen[cs]e|role"
    r"|permission|grant|credit|voucher|loyalty)"
)
_ANSWER = re.compile(r"\b(comment|repl|message|answer|email|sms|notification)")
_REFERENCE: Final = frozenset(
    {"reference", "external_id", "external_reference", "client_reference"}
)


def snake(name: str) -> str:
    """Return a name as lower-case words with underscores, such as ``order_id``."""
    parts = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    words = re.sub(r"[^A-Za-z0-9]+", "_", parts).strip("_").lower()
    return words if words[:1].isalpha() else f"x_{words}".rstrip("_")


def singular(name: str) -> str:
    """Return the singular of an English plural, roughly."""
    word = snake(name)
    if word.endswith("ies") and len(word) > len("ties"):
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def is_id(name: str) -> bool:
    """Return whether this looks like an identifier."""
    return bool(_ID.search(snake(name)))


def is_text(name: str) -> bool:
    """Return whether this looks like prose."""
    return bool(_TEXT.search(snake(name)))


def is_amount(name: str) -> bool:
    """Return whether this looks like an amount of money."""
    return bool(_AMOUNT.search(snake(name)))


def is_secret(name: str) -> bool:
    """Return whether this is better not released."""
    return bool(_SECRET.search(snake(name)))


def is_reference(name: str) -> bool:
    """Return whether the upstream keeps this for its caller."""
    return snake(name) in _REFERENCE


def is_verb(word: str) -> bool:
    """Return whether a path's last word says what is done rather than to what."""
    return snake(word) in _VERBS


def is_search(word: str) -> bool:
    """Return whether a POST to this word only looks something up."""
    return snake(word) in _SEARCHES


def customer_word(name: str) -> str:
    """Return the word for a customer that a field such as ``user_id`` holds, or ''."""
    word = re.sub(r"_(id|ref|key|uuid|number)$", "", snake(name))
    return word if word in CUSTOMERS else ""


def effect_of(words: str) -> str:
    """Return the effect that a change named with these words most likely has."""
    for form, effect in (
        (_MONEY, "money"),
        (_ENTITLEMENT, "entitlement"),
        (_ANSWER, "answer"),
        (_IDENTITY, "identity"),
    ):
        if form.search(words):
            return effect
    return "state"


def class_of(name: str) -> str:
    """Return the data class that a field of this name most likely has, or ''."""
    word = snake(name)
    for form, data_class in (
        (r"(^|_)(e?mail|phone|fax|mobile)$", "contact"),
        (r"(^|_)(address|street|city|zip|postcode|postal_code)\d?$", "address"),
        (r"(^|_)(first_name|last_name|full_name|display_name)$", "name"),
        (r"(_at|_on|_time|_date|^date|^time)$", "timestamp"),
        (r"(^|_)(status|state|priority|type|kind|channel)$", "status"),
        (r"(^|_)currency$", "amount"),
    ):
        if re.search(form, word):
            return data_class
    if is_id(word):
        return "identifier"
    return "amount" if is_amount(word) else ""


def sentence(text: str) -> str:
    """Return the first line of a text, cut, without anything unprintable."""
    line = next((one.strip() for one in text.splitlines() if one.strip()), "")
    clean = "".join(one for one in line if one.isprintable())
    return clean[:SENTENCE_CHARS_MAX]
