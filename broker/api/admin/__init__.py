"""The admin API, for people: who may do what, looked at and changed."""

from fastapi import APIRouter

from broker.api.admin import (
    agent_keys,
    codec,
    delegations,
    kill_switch,
    registry,
    signing_keys,
    unknown,
)

router = APIRouter()
for room in (
    registry,
    agent_keys,
    delegations,
    signing_keys,
    kill_switch,
    unknown,
    codec,
):
    router.include_router(room.router)

__all__ = ["router"]
