"""One code per class, and the status that goes with it."""

from __future__ import annotations

from broker.core.words import errors
from broker.core.words.errors import BrokerError

CLASSES = [
    one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, BrokerError)
]


def test_every_class_of_error_has_a_code_of_its_own() -> None:
    codes = [one.code for one in CLASSES]
    assert len(codes) == len(set(codes))


def test_only_our_own_mistake_is_a_500() -> None:
    assert [one for one in CLASSES if one.status == 500] == [BrokerError]
    assert all(400 <= one.status <= 503 for one in CLASSES)


def test_what_happened_stays_apart_from_what_to_do() -> None:
    error = errors.ConflictError("it happened", hint="do that", pointer="/x")
    assert (str(error), error.hint, error.pointer) == ("it happened", "do that", "/x")
