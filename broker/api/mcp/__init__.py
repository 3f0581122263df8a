"""MCP: the tool API for agent frameworks, over streamable HTTP and without sessions.

Every message is one POST that stands alone; nothing is ever pushed, so GET and DELETE
are answered with 405. What a tool call asks goes the way of REST (`actions.answered`):
only the envelope differs.

Revisions 2026-07-28 (each request carries its own envelope) and 2025-11-25 (a handshake
first) are spoken; both need the same token as REST.

Source: modelcontextprotocol.io/specification, revisions 2026-07-28 and 2025-11-25;
DESIGN, chapter 7 (MCP).
"""

from broker.api.mcp.endpoint import router

__all__ = ["router"]
