"""Finds the core regions of training images: those in the lake are reused, others (shoppers' photos) are detected."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.images.reading import read_image
from jobs.stages.task_io import RecordBatches, repartition_by_key, split_chunks
from jobs.stages.worker_models import load_checked_detector, task_device
from moon_model.images import BadImageError, decode_image

DETECTED_SOURCE = "detected"
REGION_TASK_SCHEMA = "uri string, box array<float>, failure string"


@dataclass(frozen=True)
class RegionJob:
    """Settings of a detection task; picklable, so that Spark can send it.

    Attributes:
        roots: canonical URIs of the folders that images may come from.
        detector: folder of the detector; None: the shipped one.
        detector_version: version whose regions in the lake are reused.
    """

    roots: tuple[str, ...]
    detector: str | None
    detector_version: str


def find_regions(images: DataFrame, known: DataFrame, job: RegionJob) -> DataFrame:
    """Return the region of every image.

    Args:
        images: uri and version; rows may repeat.
        known: rows of the table `regions` of the job's detector.
        job: allowed folders and detector.

    Returns:
        uri, box (null: the whole image is the core) and failure (null, or the reason why the image cannot be used).
    """
    wanted = images.dropDuplicates(["uri"])
    box = F.when(F.col("source") == DETECTED_SOURCE, F.col("box")).alias("box")
    held = wanted.join(known.dropDuplicates(["uri", "version"]), ["uri", "version"]).select("uri", box)
    missing = wanted.join(held, "uri", "left_anti").select("uri")
    tasks = images.sparkSession.sparkContext.defaultParallelism * 4
    found = repartition_by_key(missing, tasks, ["uri"], ["uri"]).mapInArrow(
        partial(_detect, job=job), REGION_TASK_SCHEMA
    )
    return held.withColumn("failure", F.lit(None).cast("string")).unionByName(found)


def _detect(batches: RecordBatches, job: RegionJob) -> Iterator[pa.RecordBatch]:
    detector = load_checked_detector(job.detector, job.detector_version, task_device())
    uris = (uri for batch in batches for uri in batch.column(0).to_pylist())
    for chunk in split_chunks(uris, detector.batch_size):
        images, failures = {}, {}
        for uri in chunk:
            try:
                images[uri] = decode_image(read_image(uri, job.roots), min_side=2 * detector.config.input_size)
            except BadImageError as error:
                failures[uri] = f"{error.reason}: {error.detail}"
        regions = zip(images, detector.detect(list(images.values())), strict=True)
        boxes = {uri: None if region.is_whole else list(region.box) for uri, region in regions}
        yield pa.RecordBatch.from_pydict(
            {
                "uri": pa.array(chunk, pa.string()),
                "box": pa.array([boxes.get(uri) for uri in chunk], pa.list_(pa.float32())),
                "failure": pa.array([failures.get(uri) for uri in chunk], pa.string()),
            }
        )
