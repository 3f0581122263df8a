"""Who is told and who looks: subscriptions, links in mails, canaries."""

from fastapi import APIRouter

from broker.api.notices import canaries, notifications, reject

router = APIRouter()
for room in (reject, notifications, canaries):
    router.include_router(room.router)

__all__ = ["router"]
