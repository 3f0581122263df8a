"""Budgets in PostgreSQL, past the adapter: what the functions themselves refuse."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from broker.core.limit import LINES_MAX, RESERVATION_MOVES, may_move
from broker.core.limits.window import SLIDING, bucket_since, bucket_start
from broker.core.words.budget import ReservationState
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, Money
from broker.effects.limits.budgets import PostgresBudgets, line_document
from tests.support.limits.lines import action, broker_database, line, total

A = action(1)


@pytest.fixture
async def database(pg_database):
    async with broker_database(pg_database) as lent:
        yield lent


async def reserve(database, *documents):
    return await database.value("SELECT reserve($1, $2)", A, list(documents))


async def untouched(database):
    taken = await database.value("SELECT coalesce(sum(held + posted), 0) FROM budget")
    return taken == 0 and await database.value("SELECT count(*) FROM reservation") == 0


async def test_the_largest_amount_fits_and_is_exact(database) -> None:
    largest = line(amount=AMOUNT_MINOR_UNITS_MAX, limit=AMOUNT_MINOR_UNITS_MAX)
    assert (await reserve(database, line_document(largest)))["admitted"]
    held = await total(PostgresBudgets(database), largest)
    assert held.held == AMOUNT_MINOR_UNITS_MAX


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", 0),
        ("amount", -1),
        ("amount", 1.5),
        ("amount", 2**53),
        ("amount", 2**63),
        ("amount", None),
        ("amount", "1; DROP"),
        ("budget_id", None),
        ("budget_id", "short"),
        ("window_start", None),
        ("window", "week"),
        ("rule_id", None),
        ("unit", None),
    ],
)
async def test_a_line_that_is_wrong_takes_nothing(database, name, value) -> None:
    # The roomy limit makes sure that it is not the rule that refuses.
    wrong = line_document(line()) | {"limit": 2**62, name: value}
    with pytest.raises(
        (
            asyncpg.DataError,
            asyncpg.IntegrityConstraintViolationError,
            asyncpg.RaiseError,
        )
    ):
        await reserve(database, wrong, line_document(line("other")))
    assert await untouched(database)


@pytest.mark.parametrize("limit", [None, -1])
async def test_a_line_without_a_limit_has_no_room(database, limit) -> None:
    said = await reserve(database, line_document(line()) | {"limit": limit})
    assert not said["admitted"]
    assert await untouched(database)


async def test_two_lines_for_one_budget_take_nothing(database) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await reserve(database, line_document(line()), line_document(line()))
    assert await untouched(database)


async def test_one_line_more_than_the_most_takes_nothing(database) -> None:
    lines = [line_document(line(f"b{n}")) for n in range(LINES_MAX + 1)]
    with pytest.raises(asyncpg.ProgramLimitExceededError):
        await reserve(database, *lines)
    assert await untouched(database)
    assert (await reserve(database, *lines[:LINES_MAX]))["admitted"]


@pytest.mark.parametrize("actual", [-1, 2**53])
async def test_an_amount_that_no_receipt_can_name_is_not_posted(
    database, actual
) -> None:
    budgets = PostgresBudgets(database)
    await budgets.reserve(A, [line()])
    await budgets.execute(A)
    with pytest.raises(asyncpg.NumericValueOutOfRangeError):
        await database.value("SELECT reservation_post($1, $2)", A, actual)
    (row,) = await budgets.reservations()
    assert row.state is ReservationState.EXECUTING
    assert (await total(budgets, line())).held == 1


async def test_sql_knows_the_same_moves_as_core(pg_database) -> None:
    connection = await asyncpg.connect(pg_database.dsn())
    rows = await connection.fetch("SELECT old, new FROM reservation_move")
    await connection.close()
    moves = {(row["old"], row["new"]) for row in rows}
    assert moves == {
        (old.value, new.value)
        for old, news in RESERVATION_MOVES.items()
        for new in news
    }
    assert all(may_move(ReservationState(a), ReservationState(b)) for a, b in moves)


@pytest.mark.parametrize("window", sorted(SLIDING))
async def test_sql_and_core_agree_where_a_sliding_window_begins(
    database, window
) -> None:
    for seconds in (0, 1, 299, 300, 3_599, 86_399, 86_400, 40 * 86_400 + 7):
        at = datetime(2028, 2, 28, 23, 0, tzinfo=UTC) + timedelta(seconds=seconds)
        row = await database.row(
            "SELECT budget_bucket_of($1, $2) AS bucket, budget_since($1, $2) AS since",
            window.value,
            at,
        )
        found = (row["bucket"], row["since"])
        assert found == (bucket_start(window, at), bucket_since(window, at))


async def test_a_released_budget_admits_again_and_the_entry_is_staged(database) -> None:
    budgets = PostgresBudgets(database)
    await budgets.reserve(A, [line()])
    await budgets.execute(A)
    await budgets.post(A, actual=Money(50, "USD"))
    assert (await total(budgets, line())).frozen
    entry = {"entry_id": A, "leaf": "aGVsbG8="}
    release = "SELECT budget_release($1, $2)"
    assert await database.value(release, line().budget_id, [entry]) == 1
    assert not (await total(budgets, line())).frozen
    assert (await budgets.reserve(action(2), [line()])).admitted
    assert await database.value(release, line().budget_id, [entry]) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE budget SET frozen = false",
        "UPDATE budget SET held = 0",
        "DELETE FROM budget",
        "INSERT INTO budget SELECT * FROM budget",
        "UPDATE reservation SET state = 'voided'",
        "DELETE FROM reservation",
        "INSERT INTO reservation_move VALUES ('posted', 'held')",
        "SELECT * FROM reservation_move",
        "SELECT * FROM rate_counter",
        "SELECT reservation_clear(gen_random_uuid(), '{}', '{}', '{}')",
        "SELECT budgets_create('[]')",
        "INSERT INTO budget_bucket VALUES (repeat('0', 64), now(), 0)",
        "DELETE FROM budget_bucket",
        "DELETE FROM budget_member",
        "SELECT readings_post(repeat('0', 64), now(), -1, 1, now())",
    ],
)
async def test_the_broker_moves_money_by_the_functions_alone(
    database, statement
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.value(statement)


async def test_another_schema_on_the_search_path_is_not_looked_at(pg_database) -> None:
    async with broker_database(pg_database) as database:
        async with database.connection() as connection:
            await connection.execute(
                "CREATE TEMP TABLE budget (budget_id text, window_start timestamptz);"
                "SET search_path = pg_temp, public"
            )
            documents = [line_document(line(amount=100)), line_document(line("b"))]
            await connection.fetchval("SELECT reserve($1, $2)", A, documents)
            await connection.execute("RESET search_path")
        assert (await total(PostgresBudgets(database), line())).held == 100


async def test_an_aborted_transaction_leaves_nothing_reserved(database) -> None:
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        documents = [line_document(line(amount=100))]
        said = await connection.fetchval("SELECT reserve($1, $2)", A, documents)
        assert said["admitted"]
        await transaction.rollback()
    assert await untouched(database)
