"""Addresses: what was checked is what is dialled, and little passes the check."""

import asyncio

import pytest

from broker.edge.egress.addresses import (
    ADDRESSES_MAX,
    RESOLVE_S_MAX,
    AddressError,
    CheckedNetwork,
    look_up,
)


def network(*addresses: str, allow_private: bool = False) -> CheckedNetwork:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return CheckedNetwork(allow_private=allow_private, resolve=resolve)


@pytest.mark.parametrize(
    "addresses",
    [
        (),
        ("127.0.0.1",),
        ("93.184.216.34", "127.0.0.1"),
        ("::ffff:169.254.169.254", "93.184.216.34"),
    ],
)
async def test_a_name_with_one_bad_address_is_not_dialled_at_all(addresses) -> None:
    with pytest.raises(AddressError):
        await network(*addresses).connect_tcp("crm.test", 1)


async def test_a_name_that_changes_its_address_is_checked_at_every_dial() -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers.pop(0)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    checked = CheckedNetwork(allow_private=True, resolve=resolve)
    stream = await checked.connect_tcp("crm.test", port)
    # The address that was checked is dialled; the name is not looked up again.
    assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
    assert asked == ["crm.test"]
    await stream.aclose()
    with pytest.raises(AddressError):
        await checked.connect_tcp("crm.test", port)
    server.close()
    await server.wait_closed()


async def test_no_upstream_is_a_local_socket() -> None:
    with pytest.raises(AddressError):
        await network(allow_private=True).connect_unix_socket("/run/x.sock")


async def test_a_name_is_looked_up_within_limits() -> None:
    found = await look_up("localhost", 80)
    assert 1 <= len(found) <= ADDRESSES_MAX
    async with asyncio.timeout(RESOLVE_S_MAX + 2):
        with pytest.raises(AddressError):
            await look_up("no-such-host.invalid", 80)
