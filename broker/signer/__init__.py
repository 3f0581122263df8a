"""Sign the log's heads, in a process of its own that remembers what it has signed.

Started as ``python -P -m broker.signer``. Nobody imports it: it is spoken to over a
unix socket (broker/core/transparency/signing.py says what).

files     the key and the last signed head, durable and outside PostgreSQL
notary    what is signed, what is refused, and how a new origin is opened
server    the socket
settings  what the environment says
"""
