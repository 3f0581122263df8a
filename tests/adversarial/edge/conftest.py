"""Give these tests an edge, a fake upstream, and a way to see what got through."""

from tests.edge.conftest import crm, crm_process, edge, lab, own_folder

__all__ = ["crm", "crm_process", "edge", "lab", "own_folder"]
