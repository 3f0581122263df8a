"""Seal what the worker says to Temporal, and refuse what was not sealed for its run.

The broker has the same few lines in broker/effects: neither may import the other, and
what is secret about it is in broker/core/approvals/codec.py, once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from broker.core.approvals.codec import CODEC_NONCE_BYTES, KeySource, seal, unseal


class SealingCodec(PayloadCodec, WithSerializationContext):
    """Seals each payload for the one run that it belongs to; refuses all others."""

    def __init__(self, keys: KeySource, *, workflow_id: str = "") -> None:
        """Keep who gives the keys of now; ``with_context`` names the run."""
        self._keys = keys
        self._workflow_id = workflow_id

    def with_context(self, context: SerializationContext) -> SealingCodec:
        """Return the codec of one run."""
        kinds = WorkflowSerializationContext | ActivitySerializationContext
        run = context.workflow_id if isinstance(context, kinds) else None
        return SealingCodec(self._keys, workflow_id=run or "")

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Seal payloads for this run."""
        return [self._sealed(one) for one in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open payloads of this run; one in clear is refused (CodecError)."""
        return [self._opened(one) for one in payloads]

    def _sealed(self, payload: Payload) -> Payload:
        metadata, data = seal(
            self._keys(),
            payload.SerializeToString(),
            nonce=os.urandom(CODEC_NONCE_BYTES),
            workflow_id=self._workflow_id,
        )
        return Payload(metadata=metadata, data=data)

    def _opened(self, payload: Payload) -> Payload:
        data = unseal(
            self._keys(), payload.metadata, payload.data, workflow_id=self._workflow_id
        )
        return Payload.FromString(data)


def sealing_converter(keys: KeySource) -> DataConverter:
    """Return the converter that seals payloads, and what failures say as well."""
    return replace(
        DataConverter.default,
        payload_codec=SealingCodec(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
