"""Approvals over HTTP, for people; see `votes` and `sharing`."""

from __future__ import annotations

from fastapi import APIRouter

from broker.api.approvals import sharing, votes
from broker.api.approvals.votes import VoteBody

__all__ = ["VoteBody", "router"]

router = APIRouter()
# Its paths have words where the others have an approval's id: they are looked at first.
router.include_router(sharing.router)
router.include_router(votes.router)
