"""The tests' own tools: a refund, a read, and a notice by mail."""

import tomllib

from broker.core.words.tool import Tool
from broker.registry.tools import parse_manifest

MANIFESTS = """
[[tools]]
schema = 1
tool = { name = "orders.refund", version = 1, connector = "retail", title = "Refund", \
description = "Refund", effect = "money", entry = "refund", timeout_s = 2 }
binding = { amount = "/amount", currency = "/currency" }
[tools.arguments]
type = "object"
additionalProperties = false
required = ["order", "amount", "currency"]
properties = { order = {}, amount = {}, currency = {}, note = {}, lines = {} }
[tools.egress]
requests_max = 3
response_bytes_max = 4096
[[tools.egress.requests]]
id = "order"
method = "GET"
path = "/orders/{args.order}"
query = { customer = "{customer}", note = "{args.note}" }
times_max = 2
[[tools.egress.requests]]
id = "refund"
method = "POST"
path = "/orders/{args.order}/refunds"
effectful = true
idempotency_header = "Idempotency-Key"
done = [201]
refused = [409, 422]
[tools.egress.requests.body]
amount = "{args.amount}"
currency = "{args.currency}"
customer = "{customer}"
note = "{args.note}"
lines = "{args.lines}"
reference = "{action}"
[tools.receipt]
request = "refund"
values = { owner = "/customer", amount = "/amount", currency = "/currency", \
paid = "/order/paid", first = "/lines/0" }

[[tools]]
schema = 1
tool = { name = "orders.get", version = 1, connector = "retail", title = "Get", \
description = "Get", effect = "read", entry = "get", timeout_s = 2 }
[tools.arguments]
type = "object"
additionalProperties = false
required = ["order"]
properties = { order = {} }
[tools.egress]
requests_max = 2
response_bytes_max = 4096
[[tools.egress.requests]]
id = "order"
method = "GET"
path = "/orders/{args.order}"
refused = [404]
times_max = 2
[tools.receipt]
request = "order"
values = { owner = "/customer", paid = "/paid" }

[[tools]]
schema = 1
tool = { name = "notices.send", version = 1, connector = "mail", title = "Notice", \
description = "Notice", effect = "answer", entry = "send", timeout_s = 2 }
binding = { needs_customer = false }
[tools.arguments]
type = "object"
additionalProperties = false
required = ["to", "action"]
properties = { to = {}, action = {} }
[[tools.egress.requests]]
id = "mail"
method = "POST"
path = "/"
effectful = true
idempotency_header = "Message-Id"
done = [202]
refused = [422]
[tools.egress.requests.body]
to = "{args.to}"
subject = "An action waits for you"
text = "Please decide about {args.action}."
[tools.receipt]
request = "mail"
"""


def tools() -> dict[str, Tool]:
    """Return the tests' own tools by name."""
    documents = tomllib.loads(MANIFESTS)["tools"]
    parsed = [parse_manifest(item, name="lab") for item in documents]
    return {tool.name: tool for tool in parsed}


TOOLS = tools()
REFUND = {"order": "W1", "amount": 500, "currency": "USD"}
READ = {"order": "W1"}
