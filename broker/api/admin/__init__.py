"""The admin API, for people: who may do what, looked at and changed."""

from fastapi import APIRouter

from broker.api.admin import (
    agent_keys,
    changes,
    channels,
    codec,
    delegations,
    federations,
    kill_switch,
    people,
    registry,
    restored,
    signing_keys,
    timeline,
    unknown,
    use_cases,
)

_ROOMS = (
    registry,
    agent_keys,
    delegations,
    federations,
    people,
    channels,
    changes,
    signing_keys,
    timeline,
    kill_switch,
    unknown,
    codec,
    restored,
    use_cases,
)

router = APIRouter()
for room in _ROOMS:
    router.include_router(room.router)

__all__ = ["router"]
