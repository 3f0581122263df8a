"""Read an appetite table out of TOML; what is wrong is refused with line and reason."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from broker.core.authorize import APPROVERS_MAX, EXPIRES_S_MAX
from broker.core.words.decision import Quorum, Rung
from broker.core.words.effect import Effect
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, is_currency
from broker.core.words.subject import VerificationLevel
from broker.registry.appetite.words import COMPANY, Ceiling, Row, Table, Then
from broker.registry.people import Role
from broker.registry.policy.cedar_text import PolicyError, line_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

SCHEMA: Final = 1
ROWS_MAX: Final = 100
"""Most rows of one table."""

WORDS_MAX: Final = 32
"""Most words in one cell: channels, topics, flags, findings or tools."""

TEXT_CHARS_MAX: Final = 200
WORD_CHARS_MAX: Final = 100

_COMPANY_FIELDS = frozenset({"schema", "owner", "currency", "rows"})
_USE_CASE_FIELDS = frozenset({"schema", "owner", "currency", "otherwise", "rows"})
_ANY_ROW = frozenset(
    {
        "clause",
        "text",
        "then",
        "effects",
        "tools",
        "currency",
        "amount_above",
        "amount_upto",
        "channels",
        "topics",
        "customer_flags",
        "findings",
        "verification",
    }
)
_PEOPLE = frozenset(
    {
        "approvers",
        "role",
        "within",
        "remind",
        "escalate",
        "customer_confirms",
        "or_standing",
    }
)
_TAKES = frozenset({"verification_below", "total", "total_above"})
_FIELDS = {
    Then.ALLOW: _ANY_ROW,
    Then.APPROVE: _ANY_ROW | _PEOPLE,
    Then.PERSON: _ANY_ROW | _PEOPLE | _TAKES,
    Then.BAN: _ANY_ROW | _TAKES,
}
_ROW = re.compile(r"^[ \t]*\[\[[ \t]*rows[ \t]*\]\]", re.MULTILINE)
_CLAUSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_USE_CASE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,15})\.([0-9]{2})")
_WITHIN = re.compile(r"([1-9][0-9]{0,6})([mhd])")
_STEP = re.compile(r"([a-z]+) after ([1-9][0-9]{0,6}[mhd])")
_SECONDS = {"m": 60, "h": 3_600, "d": 86_400}
_LEVELS = {level.name.lower(): int(level) for level in VerificationLevel}


def read_table(text: str, *, file: str, scope: str = COMPANY) -> Table:
    """Return the table that a file holds.

    Args:
        text: The file's TOML.
        file: Its name, for errors.
        scope: COMPANY, or the use case that the file narrows the company's table for.

    Raises:
        PolicyError: something is missing, unknown, or says what a table cannot.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{file}: {error}"
        raise PolicyError(msg) from error
    company = scope == COMPANY
    top = _Reader(raw, file, text, 1, len(text))
    top.only(_COMPANY_FIELDS if company else _USE_CASE_FIELDS)
    if raw.get("schema") != SCHEMA:
        top.refuse("schema", f"schema is {SCHEMA}")
    if not (company or _USE_CASE.fullmatch(scope)):
        top.refuse("", f"{scope!r} cannot be the name of a use case")
    rows = raw.get("rows", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        top.refuse("rows", "rows are written as [[rows]]")
    if len(rows) > ROWS_MAX:
        top.refuse("rows", f"more than {ROWS_MAX} rows")
    otherwise = top.word("otherwise", {COMPANY, "ban"}, default=COMPANY)
    currency = top.currency()
    starts = [match.start() for match in _ROW.finditer(text)]
    if len(starts) != len(rows):
        top.refuse("rows", "each row begins with [[rows]] on a line of its own")
    readers = [
        _Reader(row, file, text, line_at(text, start), end)
        for row, start, end in zip(rows, starts, [*starts, len(text)][1:], strict=True)
    ]
    table = Table(
        scope=scope,
        file=file,
        owner=top.text("owner", chars_max=WORD_CHARS_MAX),
        rows=tuple(_row(reader, currency) for reader in readers),
        closed=otherwise == "ban",
    )
    seen: set[str] = set()
    for row, reader in zip(table.rows, readers, strict=True):
        if row.clause in seen:
            reader.refuse("clause", f"clause {row.clause} is there twice")
        seen.add(row.clause)
    return table


def amount_of(value: object) -> int | None:
    """Return the minor units of an amount that is written out, like "1000.00"."""
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    units = int(match[1] + match[2]) if match else -1
    return units if 0 <= units <= AMOUNT_MINOR_UNITS_MAX else None


def _seconds(value: object) -> int:
    """Return the seconds of a time like "24h"; 0 if it is none."""
    match = _WITHIN.fullmatch(value) if isinstance(value, str) else None
    return int(match[1]) * _SECONDS[match[2]] if match else 0


def _row(reader: _Reader, currency: str) -> Row:
    then = Then(reader.word("then", {*Then}))
    reader.only(_FIELDS[then])
    effects = frozenset(
        Effect(word) for word in reader.words("effects", known={*Effect})
    )
    tools = reader.words("tools")
    if bool(effects) == bool(tools):
        reader.refuse("effects", "a row names either effects or tools")
    above, upto = reader.amount("amount_above"), reader.amount("amount_upto")
    if above is not None and upto is not None and above >= upto:
        reader.refuse("amount_upto", "amount_upto is not above amount_above")
    own = reader.currency()
    banded = above is not None or upto is not None
    if banded and not (own or currency):
        reader.refuse(
            "amount_upto", "an amount needs a currency: the table's or its own"
        )
    row = Row(
        clause=reader.clause(),
        text=reader.text("text", chars_max=TEXT_CHARS_MAX),
        then=then,
        line=reader.line,
        effects=effects,
        tools=tools,
        currency=own or (currency if banded else ""),
        amount_above=above,
        amount_upto=upto,
        channels=reader.words("channels"),
        topics=reader.words("topics"),
        customer_flags=reader.words("customer_flags"),
        findings=reader.words("findings"),
        verification=reader.level("verification"),
        verification_below=reader.level("verification_below"),
        ceiling=reader.ceiling(),
        quorum=reader.quorum() if then in {Then.APPROVE, Then.PERSON} else None,
        standing=reader.flag("or_standing"),
    )
    if then is Then.ALLOW and row.consequential:
        effect = min(row.consequential)
        reader.refuse(
            "then",
            f"no rule alone permits {effect}: say approve, and who signs",
        )
    return row


@dataclass(frozen=True, slots=True)
class _Reader:
    """One TOML table and where it stands in its file."""

    raw: Mapping[str, Any]
    file: str
    source: str
    line: int
    end: int

    def refuse(self, field: str, problem: str) -> NoReturn:
        """Raise the error, with the field's own line where it can be found."""
        line = self.line
        start = len("\n".join(self.source.split("\n")[: line - 1]))
        found = re.compile(rf"^[ \t]*{re.escape(field)}[ \t]*=", re.MULTILINE).search(
            self.source, start, self.end
        )
        if field and found:
            line = line_at(self.source, found.end())
        name = self.raw.get("clause")
        row = f", row {name}" if isinstance(name, str) and "then" in self.raw else ""
        msg = f"{self.file} line {line}{row}: {problem}"
        raise PolicyError(msg)

    def only(self, known: frozenset[str]) -> None:
        """Refuse a field that means nothing here."""
        for field in sorted(self.raw.keys() - known):
            self.refuse(field, f"{field} is not known here")

    def text(self, field: str, *, chars_max: int) -> str:
        """Return a printable text that is not empty."""
        value = self.raw.get(field)
        if (
            not isinstance(value, str)
            or not 0 < len(value) <= chars_max
            or not value.isprintable()
        ):
            self.refuse(field, f"{field} is a text of up to {chars_max} characters")
        return value

    def clause(self) -> str:
        """Return the clause's own name."""
        value = self.raw.get("clause")
        if not isinstance(value, str) or not _CLAUSE.fullmatch(value):
            self.refuse("clause", "clause is a short name, like C1")
        return value

    def word(
        self, field: str, known: AbstractSet[str], *, default: str | None = None
    ) -> str:
        """Return one of the known words."""
        value = self.raw.get(field, default)
        if not isinstance(value, str) or value not in known:
            self.refuse(field, f"{field} is one of {', '.join(sorted(known))}")
        return value

    def words(
        self, field: str, *, known: AbstractSet[str] | None = None
    ) -> frozenset[str]:
        """Return a set of words; empty if the field is not there."""
        value = self.raw.get(field)
        if value is None:
            return frozenset()
        if (
            not isinstance(value, list)
            or not 0 < len(value) <= WORDS_MAX
            or not all(isinstance(word, str) and word.isprintable() for word in value)
            or not all(0 < len(word) <= WORD_CHARS_MAX for word in value)
            or len({*value}) != len(value)
        ):
            self.refuse(field, f"{field} are 1 to {WORDS_MAX} different words")
        strange = sorted({*value} - known) if known is not None else []
        if strange:
            self.refuse(
                field, f"{strange[0]!r} is none of {', '.join(sorted(known or ()))}"
            )
        return frozenset(value)

    def flag(self, field: str) -> bool:
        """Return true or false, the latter if the field is not there."""
        value = self.raw.get(field, False)
        if not isinstance(value, bool):
            self.refuse(field, f"{field} is true or false")
        return value

    def currency(self) -> str:
        """Return the currency, empty if there is none."""
        value = self.raw.get("currency", "")
        if not isinstance(value, str) or (value and not is_currency(value)):
            self.refuse("currency", "currency is an ISO 4217 code, like USD")
        return value

    def amount(self, field: str) -> int | None:
        """Return an amount in minor units; it is written out, like "1000.00"."""
        value = self.raw.get(field)
        if value is None:
            return None
        units = amount_of(value)
        if units is None:
            self.refuse(field, f'{field} is an amount in quotes, like "1000.00"')
        return units

    def level(self, field: str) -> int:
        """Return a verification level; 0 if the field is not there."""
        if field not in self.raw:
            return 0
        return _LEVELS[self.word(field, _LEVELS.keys() - {"none"})]

    def ceiling(self) -> Ceiling | None:
        """Return the running total that the row looks at, if it does."""
        if "total" not in self.raw and "total_above" not in self.raw:
            return None
        total = self.text("total", chars_max=WORD_CHARS_MAX)
        above = self.raw.get("total_above")
        if type(above) is int and 0 <= above <= AMOUNT_MINOR_UNITS_MAX:
            return Ceiling(total, above, counts=True)
        units = self.amount("total_above") if isinstance(above, str) else None
        if units is None:
            text = 'total_above is an amount, like "300.00", or a number of actions'
            self.refuse("total_above", text)
        return Ceiling(total, units, counts=False)

    def quorum(self) -> Quorum:
        """Return who must sign, how many of them, and how soon."""
        approvers = self.raw.get("approvers", 1)
        if type(approvers) is not int or not 1 <= approvers <= APPROVERS_MAX:
            self.refuse("approvers", f"approvers is 1 to {APPROVERS_MAX}")
        role = self.word("role", {*Role})
        expires_s = _seconds(self.raw.get("within", "24h"))
        if not 1 <= expires_s <= EXPIRES_S_MAX:
            days = EXPIRES_S_MAX // 86_400
            self.refuse("within", f'within is a time like "24h", up to {days}d')
        remind_s = _seconds(self.raw["remind"]) if "remind" in self.raw else 0
        if "remind" in self.raw and not 0 < remind_s < expires_s:
            self.refuse("remind", 'remind is a time like "1h", shorter than within')
        try:
            return Quorum(
                approvers_min=approvers,
                role=role,
                expires_s=expires_s,
                remind_s=remind_s,
                ladder=self.ladder(),
                customer=self.level("customer_confirms"),
            )
        except ValueError as error:
            self.refuse("escalate", str(error))

    def ladder(self) -> tuple[Rung, ...]:
        """Return who may sign as well if nobody answers, and from when."""
        steps = self.raw.get("escalate", [])
        if not isinstance(steps, list):
            steps = [None]
        rungs = []
        for step in steps:
            match = _STEP.fullmatch(step) if isinstance(step, str) else None
            if match is None or match[1] not in {*Role}:
                text = 'escalate is a list of steps, like ["compliance after 2h"]'
                self.refuse("escalate", text)
            rungs.append(Rung(match[1], _seconds(match[2])))
        return tuple(rungs)
