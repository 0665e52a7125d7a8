"""Which model's vectors a Milvus collection holds, told by its properties, and the refusal of any other encoder.

Nothing of Milvus is imported: the client is handed in (``pymilvus.MilvusClient``, or whatever answers like it).
"""

from dataclasses import dataclass
from typing import Any, Protocol

from schemas.collection import PROPERTY_CHECKPOINT, PROPERTY_MODEL, PROPERTY_MODEL_COPY


class NothingServedError(LookupError):
    """The alias names no collection, or one without the properties of ours."""


class WrongEncoderError(ValueError):
    """The encoder is another model than the one whose vectors the collection holds."""


class AliasClient(Protocol):
    """What of ``pymilvus.MilvusClient`` is used here: names and descriptions, no data."""

    def list_aliases(self) -> dict[str, Any]:
        """Return ``{"aliases": [...]}``."""

    def has_collection(self, collection_name: str) -> bool:
        """Return whether there is one of that name."""

    def describe_alias(self, alias: str) -> dict[str, Any]:
        """Return ``{"collection_name": …}``."""

    def describe_collection(self, collection_name: str) -> dict[str, Any]:
        """Return ``{"properties": {…}}``."""


@dataclass(frozen=True)
class ServedModel:
    """What a collection says of its vectors.

    Attributes:
        alias: by which it was asked for.
        collection: its own name.
        model_version: 64 hex digits (``moon_model.fingerprint``).
        checkpoint: folder of the model, as the machine that filled the collection reached it.
        stored: folder of the lake's copy of model and detector; empty where the collection names none.
    """

    alias: str
    collection: str
    model_version: str
    checkpoint: str
    stored: str = ""

    def check(self, model_version: str) -> None:
        """Return if an encoder of this version may query the collection.

        Raises:
            WrongEncoderError: it may not.
        """
        if model_version != self.model_version:
            raise WrongEncoderError(
                f"alias {self.alias} serves model {self.model_version[:12]}, this encoder is {model_version[:12]}: "
                f"their vectors cannot be compared. Use the checkpoint that the collection names, {self.checkpoint}, "
                "with its detector"
            )


def read_served_model(client: AliasClient, alias: str) -> ServedModel:
    """Return the model behind an alias, as it is now; a collection's own name will do, too.

    Raises:
        NothingServedError: there is no such alias, or it names a collection that is not one of ours.
    """
    aliases = client.list_aliases()["aliases"]
    if alias in aliases:
        collection = client.describe_alias(alias)["collection_name"]
    elif client.has_collection(alias):
        collection = alias
    else:
        raise NothingServedError(
            f"there is no alias {alias!r} in this Milvus (aliases: {', '.join(sorted(aliases)) or 'none at all'})"
        )
    properties = dict(client.describe_collection(collection).get("properties") or {})
    if not {PROPERTY_MODEL, PROPERTY_CHECKPOINT} <= properties.keys():
        raise NothingServedError(f"alias {alias} names {collection}, which is not a collection of ours")
    stored = properties.get(PROPERTY_MODEL_COPY, "")
    return ServedModel(alias, collection, properties[PROPERTY_MODEL], properties[PROPERTY_CHECKPOINT], stored)
