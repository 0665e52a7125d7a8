"""search: finds the products nearest to a text, a photo or both, through the alias that readers use.

The query is encoded with the model of the collection's vectors; an encoder of another version is refused. A text alone
is encoded without torch where the model allows it (`moon_model.text_queries`), so that a search starts fast.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.errors import EXIT_USAGE, MoonError
from jobs.images.query_photo import read_query_photo
from jobs.lake.store import open_lake
from jobs.milvus.capabilities import find_tier
from jobs.milvus.client import connect_reader, read_collection_properties
from jobs.serving.collection_checks import check_fields, load_collection
from jobs.serving.hybrid import NO_WORDS, HybridSearch, can_search_words
from jobs.serving.variants import Search, find_one_per_group
from jobs.settings import Settings
from jobs.state.model_registry import find_model
from moon_model import collection_contract as contract
from moon_model.text_queries import TextQueryEncoder, UnsupportedModelError
from schemas.collection import (
    GROUP_FIELD,
    ID_FIELD,
    METRIC,
    PAYLOAD_FIELD,
    VECTOR_FIELD,
    build_search_params,
    read_features,
    read_schema_version,
    select_scalar_fields,
)

if TYPE_CHECKING:
    from pymilvus import MilvusClient

log = logging.getLogger(__name__)

MAX_HITS = 16_384
"""Milvus answers with no more."""

HIT_FIELDS = ("title", "category", "brand", "snapshot_date", GROUP_FIELD, PAYLOAD_FIELD)
"""Fields of a hit besides product_id and score, as far as the collection's schema version has them."""


class QueryEncoder(Protocol):
    """Interface of `moon_model.encoder.MoonEncoder` for queries."""

    model_version: str

    def encode_queries(
        self, texts: Sequence[str] | None = None, images: Sequence[Any] | None = None
    ) -> NDArray[np.float32]:
        """Return a unit vector for each query, [N, D]."""
        ...


class NothingPublishedError(MoonError):
    """The alias names no collection, or one that does not belong to this project."""


class CollectionEncoderError(MoonError):
    """The encoder's model version differs from that of the collection."""


SHOWN_FILTER = 200
"""Characters of a filter in a message."""


class QueryError(MoonError):
    """The query is not valid."""

    exit_status = EXIT_USAGE


def search_products(
    settings: Settings,
    *,
    text: str | None = None,
    image: str | Path | None = None,
    k: int = 10,
    expression: str = "",
    all_variants: bool = False,
    hybrid: bool = False,
    encoder: QueryEncoder | None = None,
) -> list[dict[str, Any]]:
    """Return the products nearest to a text, a photo, or a photo together with a text.

    Args:
        settings: Milvus, alias, and checkpoint and detector if they are not where the collection's properties say.
        text: query text.
        image: path or web address of a photo (`jobs.images.query_photo.read_query_photo`).
        k: number of products.
        expression: a Milvus filter over the fields of the collection (`schemas.collection.select_scalar_fields`).
        all_variants: whether several products of a group may be hits, not only the best of each.
        hybrid: whether products that contain every word of the text are merged in (`jobs.serving.hybrid`).
        encoder: an encoder that is loaded already; None loads the one that the collection names.

    Returns:
        Dicts of product_id, score (cosine, 1 is identical; not the order of a hybrid search) and `HIT_FIELDS`, best
        first.

    Raises:
        NothingPublishedError: the alias names no collection of this project.
        CollectionEncoderError: the encoder's model version differs from that of the collection.
        QueryError: the query is not valid.
        QueryPhotoError, QueryPhotoUnreachableError: its photo cannot be used, or its host does not answer.
        NoDatabaseError, LiteBusyError, MilvusUnreachableError: Milvus does not answer.
    """
    _check_query(text, image, k)
    if hybrid and not (text and text.strip()):
        raise QueryError("--hybrid needs words to look for, also beside a photo")
    photo = None if image is None else read_query_photo(image, settings)
    with connect_reader(settings) as client:
        served = read_served_collection(client, settings.alias)
        try:
            encoder = encoder or _load(settings, client, served, has_photo=photo is not None)
            served.check(encoder.model_version)
        except contract.WrongEncoderError as error:
            raise CollectionEncoderError(str(error)) from error
        query = _encode(encoder, text, photo)
        load_collection(client, served.collection)
        search: Search = partial(_search, client, served.collection, query, expression)
        if hybrid and can_search_words(read_features(read_collection_properties(client, served.collection))):
            nearest = partial(search_nearest, client, served.collection, query)
            search = HybridSearch(client, served.collection, text or "", nearest, expression)
        elif hybrid:
            log.warning(NO_WORDS)
        tier = find_tier(client, None if hybrid else settings.milvus_tier)  # Milvus cannot group a merged list
        return search(k) if all_variants else find_one_per_group(search, k, tier)


def read_served_collection(client: "MilvusClient", alias: str) -> contract.ServedModel:
    """Return the collection and model behind an alias.

    Raises:
        NothingPublishedError: the alias names no collection of this project.
        DamageError: the collection has other fields.
    """
    try:
        served = contract.read_served_model(client, alias)
    except contract.NothingServedError as error:
        raise NothingPublishedError(
            f"{error}: run `moon nightly` first, or name the right Milvus with --milvus"
        ) from error
    check_fields(client, served.collection)
    return served


def _load(settings: Settings, client: "MilvusClient", served: contract.ServedModel, *, has_photo: bool) -> QueryEncoder:
    """Return an encoder of the served model; for a text alone one without torch, where the model is compact."""
    model = find_model(open_lake(settings), served.model_version, served.checkpoint, settings, served.collection)
    if model is not None and not has_photo:
        with suppress(UnsupportedModelError):
            return TextQueryEncoder(model.uri, model.model_version)
    from moon_model.detection.detector import ProductDetector  # noqa: PLC0415
    from moon_model.encoder import MoonEncoder  # noqa: PLC0415  (torch and transformers take seconds to import)

    folder = settings.model or served.checkpoint
    path, detector = (model.uri, model.detector) if model else (folder, settings.detector)
    loaded = ProductDetector.from_pretrained(detector) if detector else None
    return MoonEncoder.for_collection(client, settings.alias, path=path, detector=loaded)


def search_nearest(
    client: "MilvusClient", collection: str, query: NDArray[np.float32], k: int, expression: str = ""
) -> list[dict[str, Any]]:
    """Return the rows of a collection nearest to one vector, best first.

    Raises:
        QueryError: Milvus cannot parse the filter.
    """
    return _search(client, collection, query, expression, k)


def _search(
    client: "MilvusClient", collection: str, query: NDArray[np.float32], expression: str, k: int, group_by: str = ""
) -> list[dict[str, Any]]:
    from pymilvus import MilvusException  # noqa: PLC0415  (a second to import)

    fields = select_scalar_fields(read_schema_version(read_collection_properties(client, collection)))
    shown = [name for name in HIT_FIELDS if name in fields]
    index = client.describe_index(collection, VECTOR_FIELD) or {}
    params = build_search_params(index.get("index_type", ""), k)
    try:
        hits = client.search(
            collection,
            data=[query],
            anns_field=VECTOR_FIELD,
            limit=k,
            filter=expression,
            output_fields=shown,
            search_params={"metric_type": METRIC, "params": params},
            **({"group_by_field": group_by} if group_by else {}),
        )[0]
    except MilvusException as error:
        if not expression:
            raise
        example = 'payload["price"] < 50' if PAYLOAD_FIELD in fields else 'brand in ["A", "B"]'
        reason = _shorten(" ".join(error.message.split()))  # Milvus repeats the filter
        raise QueryError(
            f"Milvus does not understand the filter {_shorten(expression)!r} ({reason}). Fields: {', '.join(fields)}; "
            f'for example: category_1 == "Shoes" and {example}'
        ) from error
    return [_read_hit(hit, shown) for hit in hits]


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN_FILTER else f"{text[:SHOWN_FILTER]}…"


def _read_hit(hit: Any, shown: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a hit; a server names the key ``id``, Milvus Lite names it like its field."""
    entity = hit["entity"]
    found = {ID_FIELD: hit.get("id", hit.get(ID_FIELD)), "score": round(float(hit["distance"]), 6)}
    return found | {name: entity[name] for name in shown}


def _check_query(text: str | None, image: str | Path | None, k: int) -> None:
    if not (text and text.strip()) and image is None:
        raise QueryError('say what to look for: a text (moon search "red shoes"), a photo (--image FILE), or both')
    if not 1 <= k <= MAX_HITS:
        raise QueryError(f"--k must lie between 1 and {MAX_HITS:,}")


def _encode(encoder: QueryEncoder, text: str | None, photo: bytes | None) -> NDArray[np.float32]:
    try:
        vectors = encoder.encode_queries(
            texts=[text] if text and text.strip() else None, images=[photo] if photo is not None else None
        )
    except ValueError as error:
        raise QueryError(f"the query cannot be encoded: {error}") from error
    vector: NDArray[np.float32] = vectors[0]
    return vector
