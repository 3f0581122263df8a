"""The OpenAPI document: what FastAPI knows of each operation, and what only we know.

FastAPI sees signatures. How a caller authenticates, which problems an operation answers
with, and what requests and answers look like is added here, in one place, for all.
"""

from broker.api.document.build import document

__all__ = ["document"]
