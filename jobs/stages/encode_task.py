"""The Spark task of stage encode: reads photos, prepares the model's input, runs the model, writes vectors.

Products are processed in chunks of bounded size; inside a chunk products of similar length share a batch. A product
with a bad image is encoded without that image, and its vector is marked partial. A product without any readable image
is refused and keeps its last good vector. Complete vectors are final; partial ones have files of their own, because the
driver judges them when all tasks have ended.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.images.store import ImageReader
from jobs.lake.storage import Storage
from jobs.lake.writing import TableSinks
from jobs.stages.task_io import RecordBatches, prefetch_map, split_chunks
from jobs.stages.worker_models import load_encoder, loader_threads, task_device
from jobs.state.model_store import locate_on_worker
from moon_model.images import BadImageError
from moon_model.product import TEXT_FIELDS, Product
from schemas.tables import VECTORS
from validation.reasons import Reason

if TYPE_CHECKING:
    from moon_model.detection.region import Region
    from moon_model.encoder import MoonEncoder
    from moon_model.processing_moon import PreparedProduct

ENCODE_CHUNK_SIZES = {"cpu": 64, "cuda": 256}
"""Products prepared before the encoder sorts them by length and batches them; a view is 150 KB (compact backbone)."""

PARTIAL_VECTORS = "partial_vectors"
"""Name of the sink of partial vectors, rows of `vectors`."""

ENCODED = "encoded"
"""Name under which a task counts the products that it encoded."""

PARTIAL = "partial_"
"""Beginning of the names under which a task counts products with a partial vector."""

UNREAD_PARTS = (*TEXT_FIELDS, "images")
"""Names under which a task counts the products of which this part exceeds what the model reads."""

EncodeRow = dict[str, Any]


class BrokenVectorError(RuntimeError):
    """The model returned vectors that are not finite: the stage stops before they are committed."""


@dataclass(frozen=True)
class EncodeJob:
    """Parameters of an encoding task; picklable, so that Spark can send them to workers.

    Attributes:
        storage: the lake's root.
        partitions: partitions of the tables that the task writes.
        roots: canonical URIs of the folders that images may come from.
        model: folder of the checkpoint.
        model_version: version that the plan expects in that folder.
        detector: folder of the detector; None is the one in the repository.
        max_images: maximum number of images per product that reach the model.
        batch_tokens: maximum number of padded tokens in one forward pass; None: the encoder's default for its device.
    """

    storage: Storage
    partitions: dict[str, dict[str, str]]
    roots: tuple[str, ...]
    model: str
    model_version: str
    detector: str | None
    max_images: int
    batch_tokens: int | None


@dataclass(frozen=True)
class EncodeItem:
    """A product with its prepared model input.

    Attributes:
        row: its row of `jobs.stages.encode.select_rows_to_encode`.
        prepared: the model's input; None when none of its images can be used.
        refused: rows of `quarantine`. Images that failed in detect are not recorded again.
        is_partial: whether an image is missing from the input.
    """

    row: EncodeRow
    prepared: "PreparedProduct | None"
    refused: list[EncodeRow]
    is_partial: bool


def run_encode_task(batches: RecordBatches, job: EncodeJob) -> RecordBatches:
    """Encode one Spark partition (columns of `select_rows_to_encode`); yield descriptions of the written files.

    Raises:
        ModelChangedError: this worker's model differs from the plan's.
        BrokenVectorError: the model returned NaN or infinity.
    """
    device = task_device()
    detector = locate_on_worker(job.storage, job.detector) if job.detector else None
    encoder = load_encoder(locate_on_worker(job.storage, job.model), detector, job.model_version, device)
    sinks = TableSinks(job.storage, job.partitions, {PARTIAL_VECTORS: VECTORS.name})
    rows = (row for batch in batches for row in batch.to_pylist())
    reader = ImageReader(job.storage, job.roots)
    prepare = partial(prepare_item, encoder=encoder, reader=reader, max_images=job.max_images)
    threads, size = loader_threads(device, job.roots), ENCODE_CHUNK_SIZES[device.partition(":")[0]]
    for chunk in split_chunks(prefetch_map(rows, prepare, threads, window=size), size):
        for item in chunk:
            sinks["quarantine"].write_rows(item.refused)
        if usable := [item for item in chunk if item.prepared is not None]:
            vectors = _encode_items(encoder, usable, job.batch_tokens)
            sinks[VECTORS.name].write(vectors.filter(~pc.field("partial")))
            sinks[PARTIAL_VECTORS].write(vectors.filter(pc.field("partial")))
            for item in usable:
                kind = PARTIAL if item.is_partial else ""
                names = (ENCODED, *_list_unread_parts(item, job.max_images))
                sinks.counts.update(f"{kind}{name}" for name in names)
    yield sinks.close()


def prepare_item(row: EncodeRow, encoder: "MoonEncoder", reader: ImageReader, max_images: int) -> EncodeItem:
    """Read one product's photos and prepare its input; thread-safe.

    Args:
        row: a row of `jobs.stages.encode.select_rows_to_encode`.
        encoder: encoder that prepares the input.
        reader: reads images.
        max_images: maximum number of images; further images are ignored.
    """
    regions = _read_regions(row)
    stored = {entry["image_index"]: entry["stored"] for entry in row["regions"] or ()}
    photos: dict[int, bytes] = {}
    refused: list[EncodeRow] = []
    for index, image in enumerate(row["images"][:max_images]):
        if index not in regions:
            continue  # detect could not use it and has recorded that
        try:
            photos[index] = reader.read(image["uri"], stored[index])
        except BadImageError as error:
            refused.append(_make_image_refusal(row, index, error.reason, error.detail))
    product = Product(
        id=row["product_id"],
        title=row["title"],
        description=row["description"],
        category=row["category"],
        attributes=dict(row["attributes"]),
        images=tuple(photos.values()),
    )
    prepared = encoder.prepare(product, [regions[index] for index in photos])
    places = list(photos)
    refused += [_make_image_refusal(row, places[bad.index], bad.reason, bad.detail) for bad in prepared.failures]
    used = len(photos) - len(prepared.failures)
    if not used:
        return EncodeItem(row, None, [*refused, _make_product_refusal(row)], is_partial=True)
    return EncodeItem(row, prepared, refused, is_partial=used < min(len(row["images"]), max_images))


def _read_regions(row: EncodeRow) -> dict[int, "Region"]:
    """Return the region of each image by its index; if there are two, always the same one."""
    from moon_model.detection.region import Region  # noqa: PLC0415

    found = sorted(row["regions"] or (), key=itemgetter("image_sha256"))
    return {entry["image_index"]: Region(tuple(entry["box"]), entry["score"], entry["source"]) for entry in found}


def _encode_items(encoder: "MoonEncoder", items: Sequence[EncodeItem], batch_tokens: int | None) -> pa.Table:
    """Encode prepared products into rows of `vectors`."""
    prepared = [item.prepared for item in items if item.prepared is not None]
    vectors = encoder.encode_prepared(prepared, batch_tokens=batch_tokens)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if broken.size:
        ids = [items[index].row["product_id"] for index in broken[:10]]
        raise BrokenVectorError(f"the model returned NaN or infinity for {', '.join(ids)}")
    offsets = np.arange(len(items) + 1, dtype=np.int32) * vectors.shape[1]
    return pa.table(
        {
            "product_id": [item.row["product_id"] for item in items],
            "content_hash": [item.row["content_hash"] for item in items],
            "vector": pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel())),
            "partial": [item.is_partial for item in items],
        }
    )


def _list_unread_parts(item: EncodeItem, max_images: int) -> list[str]:
    """Return the entries of `UNREAD_PARTS` that the model truncates."""
    cut = list(item.prepared.cut_texts) if item.prepared else []
    return [*cut, "images"] if len(item.row["images"]) > max_images else cut


def _make_image_refusal(row: EncodeRow, index: int, reason: str, detail: str) -> EncodeRow:
    key = {"source_row": row["source_row"], "product_id": row["product_id"], "image_index": index}
    return {**key, "reason": reason, "detail": detail, "row": json.dumps(row["images"][index], ensure_ascii=False)}


def _make_product_refusal(row: EncodeRow) -> EncodeRow:
    """Return the row of `quarantine` for a product without a usable image; the images' own rows give the causes."""
    names = ("product_id", "title", "description", "category", "attributes", "images")
    delivered = {name: dict(row[name]) if name == "attributes" else row[name] for name in names}
    return {
        "source_row": row["source_row"],
        "product_id": row["product_id"],
        "image_index": None,
        "reason": Reason.NO_READABLE_IMAGE,
        "detail": f"none of {len(row['images'])} images can be used; stages detect and encode give each one's reason",
        "row": json.dumps(delivered, ensure_ascii=False),
    }
