"""Tell another system: one request, to the one address that the credential names."""

from tools.sdk import Call, ConnectorError

_TAKEN = (200, 201, 202, 204)


def hooks_send(call: Call) -> dict[str, object]:
    """Send one event."""
    body = {"id": call.action, **call.arguments}
    answer = call.http.post("/events", json=body)
    if answer.status not in _TAKEN:
        raise ConnectorError(
            code="upstream_refused", message=f"answered {answer.status}"
        )
    return {"taken": True}
