"""Run a zygote per connector, all under one posture that attempts have proved."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from tools import limits
from tools.jail import landlock, process
from tools.keeper import LOG, Keeper
from tools.libraries import libraries_of
from tools.manifests import Tool
from tools.posture import cgroups, outside, postures, probing
from tools.posture.postures import NotConfinedError
from tools.settings import Settings
from tools.zygote_link import CHECKOUT, Order, ZygoteError, ZygoteLink

_OUTSIDE: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from tools.posture.outside import main; main()"
)


@dataclass(slots=True)
class Report:
    """How connector code is confined, and what each attempt against it gave.

    ``attempts`` holds, by zygote, the outcome of each attempt from inside; ``outside``
    that of each attempt without a layer of ours, where the posture rests on others;
    ``groups`` what limits the processes of a connector together.
    """

    posture: str = "none"
    landlock_abi: int = 0
    attempts: dict[str, dict[str, str]] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)
    groups: cgroups.Groups = field(default_factory=cgroups.Groups)

    @property
    def confined(self) -> bool:
        """Say whether anything but limits confines connector code."""
        return self.posture != "off"

    def as_json(self) -> dict[str, object]:
        """Return it as brokers are told it."""
        return {
            "posture": self.posture,
            "layers": sorted(postures.POSTURES.get(self.posture, ())),
            "landlock_abi": self.landlock_abi,
            "attempts": self.attempts,
            "outside": self.outside,
            "cgroup": self.groups.word,
        }


class Fleet:
    """The zygotes of all connectors, and how they are confined."""

    def __init__(
        self,
        settings: Settings,
        tools: Mapping[str, Tool],
        *,
        layers: frozenset[str] | None = None,
    ) -> None:
        """Take settings and tools; nothing is started yet.

        Args:
            settings: Sockets, catalog, libraries and the wish for a posture.
            tools: The catalog.
            layers: For control runs of the tests alone: confine by these layers only,
                and do not probe. None chooses the best posture that the wish allows.
        """
        self.report = Report()
        self._settings = settings
        self._tools = tools
        self._layers = layers
        self._keepers: dict[tuple[str, bool], Keeper] = {}

    async def start(self) -> None:
        """Start every zygote, confined and proved.

        Raises:
            NotConfinedError: Connector code cannot be confined here as it is wished.
            LibrariesError: What a connector brings is not installed as locked.
        """
        wish = self._settings.sandbox
        postures.check_host(wish)
        self.report.landlock_abi = landlock.abi()
        if self._layers is not None:
            try:
                await self._confine(self._layers)
            except ZygoteError as error:
                raise NotConfinedError(str(error)) from None
            return
        if wish == "external":
            self.report.outside = await _confined_from_outside()
        if wish in {"external", "off"}:
            # Nothing else keeps a child of this user from reading this process.
            process.hide_memory()
        self.report.groups = cgroups.open_groups(self._settings.cgroup)
        await self._choose(postures.candidates(wish))
        if not self.report.confined:
            LOG.warning(
                "NO SANDBOX: COUNTERFOIL_SANDBOX=off; connector code runs unconfined, "
                "and no tool of Tier 3 runs"
            )

    async def close(self) -> None:
        """End all zygotes."""
        await self._end_zygotes()
        self.report.groups.close()

    async def _end_zygotes(self) -> None:
        await asyncio.gather(*(keeper.close() for keeper in self._keepers.values()))

    def keeper(self, tool: Tool) -> Keeper:
        """Return who keeps the zygote that a tool runs in."""
        return self._keepers[tool.connector, tool.preload]

    def zygotes(self) -> dict[str, int]:
        """Return the process id of each living zygote by its name."""
        return {keeper.name: keeper.pid for keeper in self._keepers.values()}

    async def _choose(self, names: tuple[str, ...]) -> None:
        problem = ""
        for name in names:
            self.report.posture = name
            try:
                await self._confine(postures.POSTURES[name])
            except ZygoteError as error:
                await self._end_zygotes()
                problem = str(error)
                # Only where namespaces are refused is the other posture tried. A probe
                # that succeeded is never answered by confining less.
                if error.stage != "namespaces":
                    break
            else:
                return
        self.report.posture = "none"
        raise NotConfinedError(problem)

    async def _confine(self, layers: frozenset[str]) -> None:
        """Start a zygote per connector, and one more for tools that are preloaded."""
        self._keepers = {
            (tool.connector, tool.preload): self._keep(tool, layers)
            for tool in self._tools.values()
        }
        started = await asyncio.gather(
            *(keeper.start() for keeper in self._keepers.values()),
            return_exceptions=True,
        )
        for outcome in started:
            if outcome is not None:
                raise outcome

    def _keep(self, tool: Tool, layers: frozenset[str]) -> Keeper:
        name = tool.connector + ("+preload" if tool.preload else "")
        folder = (self._settings.catalog / tool.connector).resolve()
        order = Order(
            folder,
            libraries=libraries_of(folder, root=self._settings.libraries),
            preload=tool.preload,
            layers=layers,
            join=partial(self.report.groups.join, tool.connector),
        )

        async def check(link: ZygoteLink) -> None:
            # The attempts would end what nothing confines.
            if self._layers is None and self.report.confined:
                self.report.attempts[name] = await probing.probe_zygote(
                    link,
                    edge_socket=self._settings.edge_socket,
                    left_open=postures.LEFT_OPEN.get(self.report.posture, frozenset()),
                )

        return Keeper(name, order, check=check)


async def _confined_from_outside() -> dict[str, str]:
    """Try what something outside should refuse; return each attempt's outcome.

    Raises:
        NotConfinedError: Something was not refused.
    """
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-B", "-c", _OUTSIDE),
        *(str(CHECKOUT), str(os.getpid())),
        env={},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(limits.ZYGOTE_START_S_MAX):
            said, _ = await started.communicate()
        found: dict[str, str] = json.loads(said)
    except (TimeoutError, ValueError) as error:
        msg = "external was asked for, and trying what is outside failed"
        raise NotConfinedError(msg) from error
    finally:
        if started.returncode is None:
            started.kill()
    open_ = [
        name
        for name in outside.ATTEMPTS
        if not found.get(name, "").startswith(outside.REFUSED)
    ]
    if open_:
        msg = (
            "external was asked for, and nothing outside confines this process: "
            f"{', '.join(open_)} succeeded"
        )
        raise NotConfinedError(msg)
    return found
