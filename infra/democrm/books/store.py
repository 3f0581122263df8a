"""Keep the CRM's state in one SQLite file that survives kill -9."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from infra.democrm.books.source import Catalogue

_SCHEMA: Final = Path(__file__).with_name("schema.sql")
_SCHEMA_VERSION: Final = 3
_LOCK_WAIT_S: Final = 1.0
# What came with the data has no time: everything that has one was made here.
_RESET: Final = (
    "DELETE FROM replays",
    "DELETE FROM journal",
    "DELETE FROM replies",
    "DELETE FROM notes",
    "DELETE FROM requests",
    "DELETE FROM payments WHERE created_at IS NOT NULL",
    """UPDATE orders SET status = status_at_load, cancel_reason = cancel_reason_at_load,
    changed = NULL WHERE status != status_at_load OR changed IS NOT NULL""",
    """UPDATE customers SET changed = NULL, name_folded = name_folded_at_load
    WHERE changed IS NOT NULL""",
    """UPDATE payment_methods SET balance_minor_units = balance_at_load
    WHERE balance_minor_units != balance_at_load""",
)


class StoreError(Exception):
    """The state cannot be used; the message says why, in one line."""


class Store:
    """One open state file. Not for use from several threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Keep an open connection; use ``Store.open``."""
        self.connection = connection

    @classmethod
    def open(cls, path: Path, *, catalogue: Callable[[], Catalogue]) -> "Store":
        """Open the state at ``path``, or make it from ``catalogue`` if there is none.

        Raises:
            StoreError: another process has it open, it is damaged, or it was written
                by another version.
        """
        connection = sqlite3.connect(path, timeout=_LOCK_WAIT_S, isolation_level=None)
        store = cls(connection)
        try:
            store._prepare(catalogue)
        except sqlite3.Error as error:
            connection.close()
            msg = f"{path}: {error} (in use by another process, or damaged)"
            raise StoreError(msg) from error
        except BaseException:
            connection.close()
            raise
        return store

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what the block does, on disk when this returns; or nothing of it.

        Raises:
            sqlite3.Error: it could not be committed (disk full), and was rolled back.
        """
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            # SQLite has already rolled back by itself after some errors.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def reset(self) -> None:
        """Return to the data as loaded; numbers go on from where they were."""
        with self.transaction() as connection:
            for statement in _RESET:
                connection.execute(statement)

    @staticmethod
    def _fill(connection: sqlite3.Connection, catalogue: Catalogue) -> None:
        for statement in _statements(_SCHEMA.read_text()):
            connection.execute(statement)
        _insert(connection, catalogue)
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _prepare(self, catalogue: Callable[[], Catalogue]) -> None:
        # Exclusive: a second process on the same state must fail, not share it. The
        # lock goes with the process, also by kill -9.
        self.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self.connection.execute("PRAGMA journal_mode = WAL")
        # FULL makes COMMIT wait for the disk, so an answered change is never lost.
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.connection.execute("PRAGMA cache_size = -4096")
        with self.transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == _SCHEMA_VERSION:
                return
            if version:
                msg = f"the state is of version {version}, not {_SCHEMA_VERSION}"
                raise StoreError(msg)
            # All in one transaction: if we die here, the next start begins anew.
            self._fill(connection, catalogue())


def _statements(script: str) -> Iterator[str]:
    # Not executescript(): it would commit the transaction that must hold them all.
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def folded_name(*, first_name: str, last_name: str, zip_code: str) -> str:
    """Return the form under which a customer is found by name: case does not count."""
    return f"{first_name}\n{last_name}\n{zip_code}".casefold()


def _insert(connection: sqlite3.Connection, catalogue: Catalogue) -> None:
    _insert_customers(connection, catalogue)
    _insert_products(connection, catalogue)
    _insert_orders(connection, catalogue)


def _insert_customers(connection: sqlite3.Connection, catalogue: Catalogue) -> None:
    connection.executemany(
        "INSERT INTO customers VALUES (:id, :email, :name, :view, NULL, :name)",
        (
            {
                "id": customer.customer_id,
                "email": customer.email.casefold(),
                "name": folded_name(
                    first_name=customer.first_name,
                    last_name=customer.last_name,
                    zip_code=customer.zip_code,
                ),
                "view": customer.view,
            }
            for customer in catalogue.customers
        ),
    )
    connection.executemany(
        "INSERT INTO payment_methods VALUES (?, ?, ?, ?, ?)",
        (
            (customer.customer_id, *method, balance, balance)
            for customer in catalogue.customers
            for method in customer.methods
            for balance in (customer.balances.get(method[0]),)
        ),
    )


def _insert_products(connection: sqlite3.Connection, catalogue: Catalogue) -> None:
    connection.executemany(
        "INSERT INTO products VALUES (?, ?)",
        ((product.product_id, product.view) for product in catalogue.products),
    )
    connection.executemany(
        "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)",
        (
            (item_id, product.product_id, *item)
            for product in catalogue.products
            for item_id, *item in product.items
        ),
    )


def _insert_orders(connection: sqlite3.Connection, catalogue: Catalogue) -> None:
    connection.executemany(
        "INSERT INTO orders VALUES (:id, :customer, :status, :reason, :fixed, NULL,"
        " :status, :reason)",
        (
            {
                "id": order.order_id,
                "customer": order.customer_id,
                "status": order.status,
                "reason": order.cancel_reason,
                "fixed": order.fixed,
            }
            for order in catalogue.orders
        ),
    )
    connection.executemany(
        "INSERT INTO payments (order_id, kind, amount_minor_units, payment_method_id,"
        " refund_id) VALUES (?, ?, ?, ?, ?)",
        (
            (
                order.order_id,
                payment.kind,
                payment.amount_minor_units,
                payment.payment_method_id,
                f"refund_{order.order_id}_{index}"
                if payment.kind == "refund"
                else None,
            )
            for order in catalogue.orders
            for index, payment in enumerate(order.payments)
        ),
    )
