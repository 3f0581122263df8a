"""Give these tests a running democrm."""

from tests.support.crm import crm, crm_process

__all__ = ["crm", "crm_process"]
