"""What one detect task does: read and decode photos, find their core regions, write both tables.

An image that cannot be read becomes a quarantine row for every product that shows it, and nothing else.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter

from PIL.Image import Image

from jobs.images.reading import read_image
from jobs.lake.storage import Storage
from jobs.stages.task_io import RecordBatches, TableSinks, prefetch_map, split_chunks
from jobs.stages.worker_models import load_checked_detector, loader_threads, task_device
from jobs.state.model_store import locate_on_worker
from moon_model.images import MIN_PHOTO_SIDE, BadImageError, decode_image


@dataclass(frozen=True)
class DetectJob:
    """What a detection task needs; picklable, so Spark ships it.

    Attributes:
        storage: the lake's root.
        partitions: of the tables that the task writes.
        roots: canonical URIs of the folders that images may come from.
        detector: folder of the detector; None is the one in the repository.
        detector_version: what the plan expects there.
    """

    storage: Storage
    partitions: dict[str, dict[str, str]]
    roots: tuple[str, ...]
    detector: str | None
    detector_version: str


@dataclass(frozen=True)
class TaskImage:
    """One image of the night and every place where the catalogue shows it."""

    uri: str
    version: str | None
    uses: tuple[tuple[int, str, int], ...]
    """source_row, product_id and image_index of each."""

    def make_refused_rows(self, error: BadImageError) -> list[dict[str, object]]:
        """Return its rows of `quarantine`."""
        row = json.dumps({"uri": self.uri, "version": self.version}, ensure_ascii=False)
        reason = {"reason": error.reason, "detail": error.detail, "row": row}
        names = ("source_row", "product_id", "image_index")
        return [{**dict(zip(names, use, strict=True)), **reason} for use in self.uses]


def run_detect_task(batches: RecordBatches, job: DetectJob) -> RecordBatches:
    """Run detection over one Spark partition (columns of `images_to_encode`, sorted by uri and version)."""
    device = task_device()
    folder = locate_on_worker(job.storage, job.detector) if job.detector else None
    detector = load_checked_detector(folder, job.detector_version, device)
    sinks = TableSinks(job.storage, job.partitions)
    load = partial(_load, roots=job.roots, min_side=2 * detector.config.input_size)
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
                    "uri": photo.uri,
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
    """Gather neighbouring rows of one image."""
    rows = (row for batch in batches for row in batch.to_pylist())
    for (uri, version), uses in groupby(rows, key=itemgetter("uri", "version")):
        places = (itemgetter("source_row", "product_id", "image_index")(use) for use in uses)
        yield TaskImage(uri, version, tuple(places))


def _load(photo: TaskImage, roots: tuple[str, ...], min_side: int) -> tuple[TaskImage, str, Image | BadImageError]:
    """Read and decode; a bad image is a value here, because it must spoil only itself."""
    try:
        data = read_image(photo.uri, roots)
        return (
            photo,
            hashlib.sha256(data).hexdigest(),
            decode_image(data, min_side=min_side, min_stored_side=MIN_PHOTO_SIDE),
        )
    except BadImageError as error:
        return photo, "", error
