"""The console: what people see and sign in a browser. It decides nothing.

Pages are drawn by the server; a script that we ship swaps parts of them and listens to
one stream of events. docs/threat-model.md says what a vote from here is worth.
"""

from fastapi import APIRouter

from broker.api.console import routes, sharing

__all__ = ["router"]

router = APIRouter()
router.include_router(routes.router)
router.include_router(sharing.router)
