"""Take an MCP client's configuration as a page shows it; list the tools it reaches."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client


async def main() -> None:
    """Start what the configuration on standard input names; name its tools."""
    [server] = json.load(sys.stdin)["mcpServers"].values()
    parameters = StdioServerParameters(
        command=server["command"], args=server["args"], env=dict(os.environ)
    )
    async with Client(stdio_client(parameters)) as client:
        tools = await client.list_tools()
    print("tools:", *sorted(tool.name for tool in tools.tools))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
