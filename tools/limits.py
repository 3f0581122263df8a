"""Name every limit of the runner, in one place."""

from typing import Final

REQUEST_BYTES_MAX: Final = 131_072
"""A frame from the broker: a warrant with its arguments, and little else."""

REPLY_BYTES_MAX: Final = 1_048_576
"""A frame to the broker: a result, a receipt, and little else."""

EDGE_FRAME_BYTES_MAX: Final = 262_144
"""A frame from the edge: a receipt with the values that a manifest names."""

NOTICE_BYTES_MAX: Final = 8_192
"""A message between dispatcher and zygote."""

FRAME_DEPTH_MAX: Final = 64
"""Nesting in any frame but a result."""

RESULT_BYTES_MAX: Final = 262_144
"""What a connector may return, as JSON, its envelope included."""

RESULT_DEPTH_MAX: Final = 32
"""Nesting of what a connector returns; an object in it has depth 1."""

OUTPUT_BYTES_MAX: Final = 65_536
"""What connector code may print; more ends the call."""

ERROR_CODE_CHARS_MAX: Final = 64
ERROR_MESSAGE_CHARS_MAX: Final = 300
"""Of a failure that connector code declares."""

DEADLINE_MS_MAX: Final = 40_000
"""Longest time that a caller may give a call: a warrant's 10 s and a tool's 30 s."""

TIMEOUT_S_MAX: Final = 30
"""Longest time that a manifest may give its tool."""

CALLS_MAX: Final = 8
"""Calls at work at once, per zygote."""

GROUP_PIDS_MAX: Final = 64
"""Processes and threads of a connector together, where there are cgroups."""

GROUP_MEMORY_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Memory of a connector's processes together, where there are cgroups."""

QUEUE_MAX: Final = 32
"""Calls waiting for one of those places, per zygote."""

CONNECTIONS_MAX: Final = 128
"""Connections of brokers, open at once."""

HANDSHAKE_S_MAX: Final = 5.0
"""Until a peer has shown its certificate, where brokers come over TLS."""

FRAME_S_MAX: Final = 10.0
"""From a frame's header to the last byte of its body."""

ZYGOTE_START_S_MAX: Final = 10.0
"""From starting a zygote until it is ready and probed."""

EDGE_ANSWER_S_MAX: Final = 5.0
"""Any answer of the edge: to a warrant, or for a receipt."""

KILL_S_MAX: Final = 2.0
"""From killing a child until the kernel says that it has ended."""

DRAIN_S_MAX: Final = 5.0
"""At the end: how long calls at work may still take."""

MANIFEST_BYTES_MAX: Final = 65_536
CONNECTOR_BYTES_MAX: Final = 1_048_576
LOCK_BYTES_MAX: Final = 262_144
"""A connector's locked requirements."""

TOOLS_MAX: Final = 1_024
"""Over the whole catalog."""

HTTP_HEAD_BYTES_MAX: Final = 16_384
"""Status line and headers of a response, in a call's child."""

HTTP_HEADERS_MAX: Final = 64
HTTP_BODY_BYTES_MAX: Final = 1_048_576
"""Body of a response, in a call's child; the edge has the manifest's own limit."""
