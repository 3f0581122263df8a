"""Call the broker with a generated client: ... generated_call.py FOLDER URL TOKEN ID.

It runs in the environment of the generator, apart from ours, and imports nothing of us.
"""

from __future__ import annotations

import importlib
import json
import sys


def main(folder: str, url: str, token: str, interaction: str) -> None:
    """Read, ask for what is refused, and print both answers."""
    sys.path.insert(0, folder)
    client_of = importlib.import_module("generated.client")
    act = importlib.import_module("generated.api.actions.ask_for_action")
    models = importlib.import_module("generated.models")
    client = client_of.AuthenticatedClient(base_url=url, token=token, timeout=30)
    for tool, arguments in (
        ("customers.get", {}),
        ("orders.get", {"order_id": "W0000001"}),
    ):
        body = models.AskForActionActionBody.from_dict(
            {"tool": tool, "arguments": arguments, "interaction": interaction}
        )
        answer = act.sync_detailed(client=client, body=body)
        parsed = answer.parsed
        said = {
            "status": int(answer.status_code),
            "kind": type(parsed).__name__,
            "content": json.loads(answer.content),
            "code": getattr(parsed, "code", None),
        }
        sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
