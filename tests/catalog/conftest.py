"""Give these tests the shop's real CRM."""

from __future__ import annotations

from tests.support.crm import crm, crm_process

__all__ = ["crm", "crm_process"]
