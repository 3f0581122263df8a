"""Misbehave on request: which fault meets which call, and how often."""

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from infra.democrm.books.changes import RefundRules
from infra.democrm.limits import (
    AMOUNT_MINOR_UNITS_MAX,
    FAULT_BODY_BYTES_MAX,
    FAULT_DELAY_S_MAX,
    FAULT_TEXT_CHARS_MAX,
    FAULT_TIMES_MAX,
    FAULTS_MAX,
    IDEMPOTENCY_TTL_S_MAX,
)
from infra.democrm.wire import Fields

_METHODS: Final = ("GET", "POST")
_LOCATION: Final = re.compile(r"[\x21-\x7e]+")


class FaultKind(StrEnum):
    """What goes wrong."""

    DELAY = "delay"
    ERROR_500 = "error_500"
    DROP_BEFORE_COMMIT = "drop_before_commit"
    DROP_AFTER_COMMIT = "drop_after_commit"
    HUGE_BODY = "huge_body"
    SLOW_BODY = "slow_body"
    REDIRECT = "redirect"
    ECHO_CREDENTIAL = "echo_credential"
    OVERREPORT = "overreport"


class When(StrEnum):
    """Whether the change was made by the time it goes wrong."""

    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, the calls it meets, and how many of them are left."""

    kind: FaultKind
    method: str | None = None
    """None meets every method."""
    path: re.Pattern[str] = re.compile("")
    """Searched for in the path; the empty pattern is in every one."""
    times: int | None = 1
    """Calls left to meet; None never ends."""
    when: When = When.BEFORE_COMMIT
    """For delay and error_500."""
    delay_s: float = 1.0
    """For delay, once; for slow_body, before each byte."""
    size_bytes: int = 16 * 1024**2
    """For huge_body: how much is added to the answer."""
    location: str = "https://elsewhere.invalid/collect"
    """For redirect."""
    extra_minor_units: int = 100_00
    """For overreport: added to every amount and total of refunds in the answer."""

    def meets(self, *, method: str, path: str) -> bool:
        """Say whether this fault is for the call."""
        return self.method in (None, method) and bool(self.path.search(path))

    def view(self) -> dict[str, object]:
        """Return the fault as it can be sent again."""
        return {
            "match": {"method": self.method, "path_regex": self.path.pattern},
            "fault": self.kind.value,
            "times": self.times,
            "when": self.when,
            "delay_s": self.delay_s,
            "size_bytes": self.size_bytes,
            "location": self.location,
            "extra_minor_units": self.extra_minor_units,
        }


@dataclass(frozen=True, slots=True)
class Switches:
    """Rules of the shop that can be turned off, and how long keys are honoured."""

    idempotency_ttl_s: int
    rules: RefundRules = field(default_factory=RefundRules)

    def view(self) -> dict[str, object]:
        """Return the switches by name."""
        return {
            "refuse_over_refund": self.rules.refuse_over_refund,
            "refuse_other_payment_method": self.rules.refuse_other_payment_method,
            "idempotency_ttl_s": self.idempotency_ttl_s,
        }


class Mischief:
    """The faults and switches in force.

    They live in memory only: a restart brings back an upstream that behaves, so a
    forgotten fault cannot outlive the process.
    """

    def __init__(self, switches: Switches) -> None:
        """Begin with no fault and with these switches."""
        self._at_start = switches
        self.switches = switches
        self._faults: tuple[Fault, ...] = ()

    def view(self) -> dict[str, object]:
        """Return what is in force."""
        return {
            "faults": [fault.view() for fault in self._faults],
            "switches": self.switches.view(),
        }

    def clear(self) -> None:
        """Return to no fault and the switches of the start."""
        self.switches, self._faults = self._at_start, ()

    def put(self, body: dict[str, object]) -> None:
        """Take new faults, new switches, or both; what is not sent stays.

        The short form is one fault's fields, or switches, at the top of the body.

        Raises:
            RequestError: 422 with the field's path; nothing is changed.
        """
        fields = Fields(body)
        faults = self._faults
        if fields.has("faults"):
            items = fields.objects("faults", items_max=FAULTS_MAX)
            faults = tuple(_fault(item) for item in items)
        elif fields.has("fault"):
            faults = (_take_fault(fields),)
        switches = _take_switches(fields, self.switches)
        if fields.has("switches"):
            nested = fields.fields("switches")
            switches = _take_switches(nested, switches)
            nested.end()
        fields.end()
        self._faults, self.switches = faults, switches

    def take(self, *, method: str, path: str) -> Fault | None:
        """Return the first fault that meets the call, and count the call."""
        for index, fault in enumerate(self._faults):
            if fault.meets(method=method, path=path):
                self._count(index)
                return fault
        return None

    def _count(self, index: int) -> None:
        before, after = self._faults[:index], self._faults[index + 1 :]
        fault = self._faults[index]
        if fault.times is None:
            return
        left = (replace(fault, times=fault.times - 1),) if fault.times > 1 else ()
        self._faults = (*before, *left, *after)


def _fault(fields: Fields) -> Fault:
    fault = _take_fault(fields)
    fields.end()
    return fault


def _take_fault(fields: Fields) -> Fault:
    kind = fields.text("fault", chars_max=FAULT_TEXT_CHARS_MAX)
    if kind not in set(FaultKind):
        fields.refuse("fault", f"must be one of {', '.join(FaultKind)}")
    fault = _take_match(fields, Fault(FaultKind(kind)))
    if fields.take_null("times"):
        fault = replace(fault, times=None)
    elif fields.has("times"):
        times = fields.integer("times", least=1, most=FAULT_TIMES_MAX)
        fault = replace(fault, times=times)
    if fields.has("when"):
        fault = replace(fault, when=_take_when(fields))
    if fields.has("delay_s"):
        delay_s = fields.number("delay_s", most=FAULT_DELAY_S_MAX)
        fault = replace(fault, delay_s=delay_s)
    if fields.has("size_bytes"):
        size = fields.integer("size_bytes", least=1, most=FAULT_BODY_BYTES_MAX)
        fault = replace(fault, size_bytes=size)
    if fields.has("location"):
        location = fields.text("location", chars_max=FAULT_TEXT_CHARS_MAX)
        # It becomes a header: a line break would make two of it.
        if not _LOCATION.fullmatch(location):
            fields.refuse("location", "must be visible ASCII")
        fault = replace(fault, location=location)
    if fields.has("extra_minor_units"):
        extra = fields.integer(
            "extra_minor_units", least=1, most=AMOUNT_MINOR_UNITS_MAX
        )
        fault = replace(fault, extra_minor_units=extra)
    return fault


def _take_match(fields: Fields, fault: Fault) -> Fault:
    if not fields.has("match"):
        return fault
    match = fields.fields("match")
    if not match.take_null("method") and match.has("method"):
        method = match.text("method", chars_max=FAULT_TEXT_CHARS_MAX)
        if method not in _METHODS:
            match.refuse("method", f"must be one of {', '.join(_METHODS)}")
        fault = replace(fault, method=method)
    if match.has("path_regex"):
        text = match.string("path_regex", chars_max=FAULT_TEXT_CHARS_MAX)
        try:
            fault = replace(fault, path=re.compile(text))
        except (re.error, RecursionError, OverflowError):
            match.refuse("path_regex", "must be a regular expression")
    match.end()
    return fault


def _take_when(fields: Fields) -> When:
    text = fields.text("when", chars_max=FAULT_TEXT_CHARS_MAX)
    if text not in set(When):
        fields.refuse("when", f"must be one of {', '.join(When)}")
    return When(text)


def _take_switches(fields: Fields, switches: Switches) -> Switches:
    rules = switches.rules
    if fields.has("refuse_over_refund"):
        on = fields.flag("refuse_over_refund")
        rules = replace(rules, refuse_over_refund=on)
    if fields.has("refuse_other_payment_method"):
        on = fields.flag("refuse_other_payment_method")
        rules = replace(rules, refuse_other_payment_method=on)
    ttl_s = switches.idempotency_ttl_s
    if fields.has("idempotency_ttl_s"):
        ttl_s = fields.integer("idempotency_ttl_s", least=0, most=IDEMPOTENCY_TTL_S_MAX)
    return Switches(idempotency_ttl_s=ttl_s, rules=rules)
