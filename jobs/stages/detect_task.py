"""The Spark task of stage detect: reads and decodes photos, finds their core regions, writes both tables.

An image that cannot be read only adds a quarantine row for every product that uses it.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter

from PIL.Image import Image

from jobs.images.store import ImageReader, StoredPart
from jobs.lake.storage import Storage
from jobs.lake.writing import TableSinks
from jobs.stages.task_io import RecordBatches, prefetch_map, split_chunks
from jobs.stages.worker_models import load_checked_detector, loader_threads, task_device
from jobs.state.model_store import locate_on_worker
from moon_model.images import MIN_PHOTO_SIDE, BadImageError, decode_image


@dataclass(frozen=True)
class DetectJob:
    """Parameters of a detection task; picklable, so that Spark can send them to workers.

    Attributes:
        storage: the lake's root.
        partitions: partitions of the tables that the task writes.
        roots: canonical URIs of the folders that images may come from.
        detector: folder of the detector; None is the one in the repository.
        detector_version: version that the plan expects in that folder.
    """

    storage: Storage
    partitions: dict[str, dict[str, str]]
    roots: tuple[str, ...]
    detector: str | None
    detector_version: str


@dataclass(frozen=True)
class TaskImage:
    """One image of the run and all its uses in the catalogue.

    Attributes:
        key, version: identity of the image; the columns uri and version of `regions`.
        uses: source_row, product_id, image_index and uri of each use.
        stored: location in the image store; None: it is read in place.
        failure: reason and detail of a photo by URL that could not be fetched.
    """

    key: str
    version: str | None
    uses: tuple[tuple[int, str, int, str], ...]
    stored: StoredPart | None = None
    failure: dict[str, str] | None = None

    def make_refused_rows(self, error: BadImageError) -> list[dict[str, object]]:
        """Return the image's rows of `quarantine`, one per use."""
        reason = {"reason": error.reason, "detail": error.detail}
        rows: list[dict[str, object]] = []
        for source_row, product_id, image_index, uri in self.uses:
            place = {"source_row": source_row, "product_id": product_id, "image_index": image_index}
            row = json.dumps({"uri": uri, "version": self.version}, ensure_ascii=False)
            rows.append({**place, **reason, "row": row})
        return rows


def run_detect_task(batches: RecordBatches, job: DetectJob) -> RecordBatches:
    """Run detection over one Spark partition (columns of `select_images_to_encode`, sorted by key and version)."""
    device = task_device()
    folder = locate_on_worker(job.storage, job.detector) if job.detector else None
    detector = load_checked_detector(folder, job.detector_version, device)
    sinks = TableSinks(job.storage, job.partitions)
    reader = ImageReader(job.storage, job.roots)
    load = partial(_load, reader=reader, min_side=2 * detector.config.input_size)
    threads = loader_threads(device, job.roots)
    for chunk in split_chunks(
        prefetch_map(_group_images(batches), load, threads, window=2 * threads), detector.batch_size
    ):
        loaded = [(photo, sha256, image) for photo, sha256, image in chunk if isinstance(image, Image)]
        regions = detector.detect([image for _, _, image in loaded])
        sinks["regions"].write_rows(
            [
                {
                    "image_sha256": sha256,
                    "uri": photo.key,
                    "version": photo.version,
                    "box": list(region.box),
                    "score": region.score,
                    "source": region.source,
                }
                for (photo, sha256, _), region in zip(loaded, regions, strict=True)
            ]
        )
        for photo, _, error in chunk:
            if isinstance(error, BadImageError):
                sinks["quarantine"].write_rows(photo.make_refused_rows(error))
    yield sinks.close()


def _group_images(batches: RecordBatches) -> Iterator[TaskImage]:
    """Yield one `TaskImage` per group of adjacent rows of the same image."""
    rows = (row for batch in batches for row in batch.to_pylist())
    for (key, version), group in groupby(rows, key=itemgetter("key", "version")):
        uses = list(group)
        places = (itemgetter("source_row", "product_id", "image_index", "uri")(use) for use in uses)
        yield TaskImage(key, version, tuple(places), uses[0]["stored"], uses[0]["failure"])


def _load(photo: TaskImage, reader: ImageReader, min_side: int) -> tuple[TaskImage, str, Image | BadImageError]:
    """Read and decode an image; an error is returned, not raised, so that the other images continue."""
    try:
        if photo.failure is not None:
            raise BadImageError(photo.failure["reason"], photo.failure["detail"])
        data = reader.read(photo.uses[0][-1], photo.stored)
        return (
            photo,
            hashlib.sha256(data).hexdigest(),
            decode_image(data, min_side=min_side, min_stored_side=MIN_PHOTO_SIDE),
        )
    except BadImageError as error:
        return photo, "", error
