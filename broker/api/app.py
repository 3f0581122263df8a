"""The HTTP application: routers, problems, health, and nothing that decides."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from broker.api import (
    actions,
    admin,
    approvals,
    console,
    decisions,
    interactions,
    internal,
    mcp,
    notices,
    oauth,
    policy,
    problems,
    reference,
    rehearsals,
)
from broker.api.document import document
from broker.api.kit import permissions, probes
from broker.api.kit.readiness import Readiness
from broker.api.limits import budgets, standing

if TYPE_CHECKING:
    from starlette.responses import Response

Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[None]]

DESCRIPTION = """
Agents ask; the broker decides, limits, has a person sign what matters, executes in a
sandbox with credentials that only the edge holds, and keeps the proof.

Errors are RFC 9457 problems; a denial is an answer with stable reason codes.
"""


def create_app(lifespan: Lifespan) -> FastAPI:
    """Return the application; ``lifespan`` fills ``app.state`` before it serves.

    ``app.state`` holds: ``ports`` (what the flow uses), ``issuer``, ``tasks``, and what
    identity, approvals and the console need (see broker/wiring).
    """
    app = FastAPI(
        title="Counterfoil",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.readiness = Readiness()
    problems.install(app)
    app.openapi = partial(document, app)  # type: ignore[method-assign]
    for room in (
        oauth,
        actions,
        decisions,
        interactions,
        approvals,
        console,
        admin,
        permissions,
        probes,
        policy,
        rehearsals,
        notices,
        reference,
        internal,
        mcp,
    ):
        app.include_router(room.router)
    for room in (budgets, standing):
        app.include_router(room.router)
    app.add_api_route("/healthz", healthz, include_in_schema=False)
    app.add_api_route("/readyz", readyz, include_in_schema=False)
    app.add_api_route("/metrics", metrics, include_in_schema=False)
    return app


async def healthz() -> dict[str, str]:
    """Say that this process serves."""
    return {"status": "ok"}


async def readyz(request: Request) -> Response:
    """Say whether this replica can decide now, and what is missing if it cannot."""
    readiness: Readiness = request.app.state.readiness
    return await readiness.answer(request.app.state.ports)


async def metrics() -> Response:
    """Return figures for Prometheus; labels carry words of the domain only."""
    return PlainTextResponse(generate_latest(), media_type=CONTENT_TYPE_LATEST)
