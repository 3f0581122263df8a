"""Speak to the help desk: one function per tool, one request each."""

from tools.sdk import ABSENT, Call, accept, given, segment


def tickets_list(call: Call) -> dict[str, object]:
    """Send GET /users/{user_id}/tickets."""
    customer = segment(call.customer)
    query = given(
        {
            "status": call.arguments.get("status", ABSENT),
        }
    )
    response = call.http.request(
        "GET",
        f"/users/{customer}/tickets",
        query={name: str(value) for name, value in query.items()},
    )
    return accept(response, 200)


def tickets_create(call: Call) -> dict[str, object]:
    """Send POST /tickets."""
    body = given(
        {
            "ticket": {
                "requester_id": call.customer,
                "subject": call.arguments["subject"],
                "description": call.arguments["description"],
                "priority": call.arguments.get("priority", ABSENT),
                "external_id": call.action,
            },
        }
    )
    response = call.http.request("POST", "/tickets", json=body)
    return accept(response, 201)


def tickets_get(call: Call) -> dict[str, object]:
    """Send GET /tickets/{ticket_id}."""
    ticket_id = segment(call.arguments["ticket_id"])
    response = call.http.request("GET", f"/tickets/{ticket_id}")
    return accept(response, 200)


def tickets_update(call: Call) -> dict[str, object]:
    """Send PUT /tickets/{ticket_id}."""
    ticket_id = segment(call.arguments["ticket_id"])
    body = given(
        {
            "ticket": {
                "status": call.arguments.get("status", ABSENT),
                "priority": call.arguments.get("priority", ABSENT),
            },
        }
    )
    response = call.http.request("PUT", f"/tickets/{ticket_id}", json=body)
    return accept(response, 200)


def tickets_comments_list(call: Call) -> dict[str, object]:
    """Send GET /tickets/{ticket_id}/comments."""
    ticket_id = segment(call.arguments["ticket_id"])
    response = call.http.request("GET", f"/tickets/{ticket_id}/comments")
    return accept(response, 200)


def tickets_comments_create(call: Call) -> dict[str, object]:
    """Send POST /tickets/{ticket_id}/comments."""
    ticket_id = segment(call.arguments["ticket_id"])
    body = given(
        {
            "comment": {
                "body": call.arguments["body"],
                "public": True,
                "external_id": call.action,
            },
        }
    )
    response = call.http.request("POST", f"/tickets/{ticket_id}/comments", json=body)
    return accept(response, 201)


def macros_list(call: Call) -> dict[str, object]:
    """Send GET /macros."""
    response = call.http.request("GET", "/macros")
    return accept(response, 200)


def tickets_macros_apply(call: Call) -> dict[str, object]:
    """Send POST /tickets/{ticket_id}/macros/{macro_id}/apply."""
    ticket_id = segment(call.arguments["ticket_id"])
    macro_id = segment(call.arguments["macro_id"])
    response = call.http.request(
        "POST",
        f"/tickets/{ticket_id}/macros/{macro_id}/apply",
    )
    return accept(response, 200)
