"""What a link in a mail leads to: a page that asks, and a no."""

from fastapi import APIRouter

from broker.api.notices import reject

router = APIRouter()
router.include_router(reject.router)

__all__ = ["router"]
