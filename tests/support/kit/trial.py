"""Try a tool as `counterfoil tools test` does, for tests of connectors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.support.cli.command import invoke


def tried(tool: str, arguments: Mapping[str, Any], *options: str) -> dict[str, Any]:
    """Run a tool in the real sandbox against a stub; return what came of it.

    ``sent`` has a line per request, the rest is what `tools test --json` gives.
    """
    words = ["tools", "test", tool, "--arguments", json.dumps(arguments), "--json"]
    result = invoke(*words, *options)
    assert "requests" in result.output, result.output
    done: dict[str, Any] = json.loads(result.output)
    return {**done, "sent": [one["sent"] for one in done["requests"]]}
