"""A tool as its manifest describes it: what it can cause, may send and may release.

Values only; broker/registry/tools.py parses them from TOML. The format is described in
docs/manifests.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from broker.core.words.effect import Effect, Tier, tier_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.labels import Integrity, Label

PATTERNED_CHARS_MAX = 4_096
"""How long a text with a pattern may be whose schema does not say it."""


@dataclass(frozen=True, slots=True)
class ObjectBinding:
    """An argument that names an upstream object.

    ``cap`` names a receipt value (such as ``paid``) that bounds the sum of all amounts
    ever moved on that object; empty if there is no such bound.
    """

    pointer: str
    kind: str
    cap: str = ""


@dataclass(frozen=True, slots=True)
class ProvenanceRule:
    """The least integrity that the origin of an argument must have."""

    pointer: str
    integrity: Integrity


@dataclass(frozen=True, slots=True)
class Binding:
    """Where the broker finds amount, currency, objects and origins in the arguments.

    ``binds_customer`` marks a tool whose receipt's ``owner`` binds the interaction to a
    customer (verification); ``needs_customer`` says that the interaction must be bound
    already, and that every receipt's owner must be that customer.
    """

    amount: str
    currency: str
    objects: tuple[ObjectBinding, ...]
    provenance: tuple[ProvenanceRule, ...]
    text: tuple[str, ...]
    needs_customer: bool
    binds_customer: bool


@dataclass(frozen=True, slots=True)
class EgressRequest:
    """One upstream request that the edge may send for this tool, and nothing beside it.

    ``path``, ``query`` and ``body`` hold templates: ``{args.NAME}``, ``{customer}``,
    ``{action}``. The body is JSON, in which a string that is one whole template keeps
    the argument's type, or with ``form`` an urlencoded form. A request with
    ``effectful`` is journalled before it is sent and gets the idempotency key in
    ``idempotency_header``; the upstream keeps that key ``idempotency_kept_s`` seconds
    (0: it cannot be relied on, so nothing is ever sent twice).
    ``done`` and ``refused`` are the statuses that say it happened, or surely did not;
    any other answer leaves an effectful request unknown. ``scopes`` are what the
    upstream's documentation asks of the credential; nothing here enforces them.
    """

    request_id: str
    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any] | None
    form: bool
    effectful: bool
    idempotency_header: str
    idempotency_kept_s: int
    done: frozenset[int]
    refused: frozenset[int]
    times_max: int
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Find:
    """Which element of a list in a response a receipt speaks of.

    It is the one whose value at ``mark`` is the decided argument ``argument``; the
    receipt's pointers then start there, and its value ``found`` says how many there
    are. ``more`` points at what says that the list goes on; empty if it never does.
    """

    list: str
    mark: str
    argument: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class ReceiptPointers:
    """Which values the edge takes from the raw response of which request.

    ``values`` maps a name (owner, object, amount, currency, paid, status ...) to a JSON
    pointer into the response body, or into what ``find`` finds in it.
    """

    request_id: str
    values: Mapping[str, str]
    find: Find | None = None


@dataclass(frozen=True, slots=True)
class Reconcile:
    """By which reading tool the upstream is asked whether an action happened.

    ``arguments`` are templates of decided arguments, customer and action. What is not
    found ``absent_after_s`` seconds after it can have been sent at the latest never
    happened; 0 if the upstream promises no such thing.
    """

    tool: str
    arguments: Mapping[str, str]
    absent_after_s: int


@dataclass(frozen=True, slots=True)
class Undo:
    """Which tool takes back what this one did, and from what its arguments are made.

    ``arguments`` maps each to a template: ``{args.NAME}`` of the action that is undone,
    or ``{receipt.NAME}``, a value of its signed receipt.
    """

    tool: str
    arguments: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OutputField:
    """A value that may be released; what no field names is dropped (default deny).

    ``pointer`` is a JSON pointer in which ``*`` stands for every element of a list.
    ``shows`` makes the released value an object that later calls may name.
    """

    pointer: str
    data_class: str
    label: Label
    shows: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A loaded manifest."""

    name: str
    version: int
    connector: str
    title: str
    description: str
    effect: Effect
    entry: str
    preload: bool
    timeout_s: int
    arguments: Mapping[str, Any]
    binding: Binding
    requests: tuple[EgressRequest, ...]
    requests_max: int
    response_bytes_max: int
    receipt: ReceiptPointers
    output: tuple[OutputField, ...]
    digest: str
    reconcile: Reconcile | None = None
    undo: Undo | None = None

    @property
    def tier(self) -> Tier:
        """Return the tier, which follows from the effect alone."""
        return tier_of(self.effect)

    def request(self, request_id: str) -> EgressRequest:
        """Return the egress request with this id.

        Raises:
            KeyError: the manifest has none.
        """
        for request in self.requests:
            if request.request_id == request_id:
                return request
        raise KeyError(request_id)
