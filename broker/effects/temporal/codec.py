"""Seal what goes to Temporal, as its client asks for it.

Source: the SDK's payload codecs; broker/core/approvals/codec.py does the work.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from broker.core.approvals.codec import CODEC_NONCE_BYTES, KeySource, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from temporalio.converter import SerializationContext


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
        sealed = [
            seal(
                self._keys(),
                one.SerializeToString(),
                nonce=os.urandom(CODEC_NONCE_BYTES),
                workflow_id=self._workflow_id,
            )
            for one in payloads
        ]
        return [Payload(metadata=metadata, data=data) for metadata, data in sealed]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open payloads of this run; one in clear is refused (CodecError)."""
        run = self._workflow_id
        opened = [
            unseal(self._keys(), one.metadata, one.data, workflow_id=run)
            for one in payloads
        ]
        return [Payload.FromString(data) for data in opened]


def sealing_converter(keys: KeySource) -> DataConverter:
    """Return the converter that seals payloads, and what failures say as well."""
    return replace(
        DataConverter.default,
        payload_codec=SealingCodec(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
