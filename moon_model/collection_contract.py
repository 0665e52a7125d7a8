"""Finds the model of a Milvus collection's vectors, from the collection's properties, and refuses other encoders.

It does not import pymilvus: the client (``pymilvus.MilvusClient`` or an object with the same methods) is an argument.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from schemas.collection import PROPERTY_CHECKPOINT, PROPERTY_MODEL, PROPERTY_MODEL_COPY


class NothingServedError(LookupError):
    """The alias names no collection, or a collection that MOON did not make."""


class WrongEncoderError(ValueError):
    """The encoder is not the model whose vectors the collection has."""


class AliasClient(Protocol):
    """The methods of ``pymilvus.MilvusClient`` that are used here; they read names and descriptions, but no rows."""

    def list_aliases(self) -> dict[str, Any]:
        """Return ``{"aliases": [...]}``."""

    def has_collection(self, collection_name: str) -> bool:
        """Return whether there is a collection of that name."""

    def describe_alias(self, alias: str) -> dict[str, Any]:
        """Return ``{"collection_name": …}``."""

    def describe_collection(self, collection_name: str) -> dict[str, Any]:
        """Return ``{"properties": {…}}``."""


@dataclass(frozen=True)
class ServedModel:
    """The model of a collection, from its properties.

    Attributes:
        alias: alias or name by which the collection was found.
        collection: name of the collection.
        model_version: 64 hex digits (``moon_model.fingerprint``).
        checkpoint: folder of the model on the machine that filled the collection.
        stored: folder of the lake's copy of model and detector; empty if the collection names none.
    """

    alias: str
    collection: str
    model_version: str
    checkpoint: str
    stored: str = ""

    def check(self, model_version: str) -> None:
        """Check that an encoder of this version may query the collection.

        Raises:
            WrongEncoderError: it has another version.
        """
        if model_version != self.model_version:
            raise WrongEncoderError(
                f"alias {self.alias} serves model {self.model_version[:12]}, this encoder is {model_version[:12]}: "
                f"their vectors cannot be compared. Use the checkpoint that the collection names, {self.checkpoint}, "
                "with its detector"
            )


def read_served_model(client: AliasClient, alias: str) -> ServedModel:
    """Return the model that an alias serves now; the name of a collection is accepted too.

    Raises:
        NothingServedError: there is no such alias, or it names a collection that MOON did not make.
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
