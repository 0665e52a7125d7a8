"""Chooses the model of a nightly run: the one that the readers' alias serves, which only `moon rollout` changes.

Vectors of different model versions are never in one collection (docs/decisions/0013-collection-names.md). The first
run, when there is no alias yet, uses the configured checkpoint or the shipped one. If the folder of a served model has
changed, its copy in the lake is used (`jobs.state.model_store`).
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError, SchemaVersionError
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink
from jobs.milvus.client import read_alias_target, read_collection_properties
from jobs.settings import Settings
from jobs.state.model_store import find_stored_model
from moon_model import checkpoint_dir
from moon_model.detection.detector import compute_detector_version
from moon_model.fingerprint import DEFAULT_MODEL, combine_version, read_model_shape
from schemas.collection import (
    COLLECTION_SCHEMA_VERSION,
    PROPERTY_CHECKPOINT,
    PROPERTY_MODEL,
    collection_name,
    read_schema_version,
    select_scalar_fields,
)

if TYPE_CHECKING:
    from pymilvus import MilvusClient


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelChoice:
    """A checkpoint and the collection that holds its vectors.

    Attributes:
        uri: absolute path of the checkpoint's folder, reachable by every worker.
        model_version: 64 hex digits: weights, processing configuration and detector (`moon_model.fingerprint`).
        detector_version: 16 hex digits.
        dimension: D of a vector.
        max_images: maximum number of images per product that reach the model.
        collection: the collection of this version.
        detector: folder of the detector; None: the shipped one.
    """

    uri: str
    model_version: str
    detector_version: str
    dimension: int
    max_images: int
    collection: str
    detector: str | None = None


def choose_model(settings: Settings, client: "MilvusClient", lake: Lake) -> ModelChoice:
    """Return the model of a nightly run: the served one, from its folder or from the copy in the lake.

    Args:
        settings: alias, and the configured checkpoint, if any.
        client: client of the Milvus that has the alias.
        lake: lake with copies of served models.

    Raises:
        NightStoppedError: there is no checkpoint, or it is not the model that the alias serves.
        SchemaVersionError: a later release created the served collection.
    """
    collection = read_alias_target(client, settings.alias)
    if collection is None:
        return describe_checkpoint(settings.model, settings.detector)
    properties = read_collection_properties(client, collection)
    if not {PROPERTY_MODEL, PROPERTY_CHECKPOINT} <= properties.keys():
        raise NightStoppedError(
            f"alias {settings.alias} names the collection {collection}, which is not one of ours (it has no "
            f"{PROPERTY_MODEL}): choose another alias with MOON_ALIAS, or drop that one"
        )
    check_schema_version(collection, properties)
    log_lacking_fields(collection, properties)
    served = properties[PROPERTY_MODEL]
    folder = settings.model or properties[PROPERTY_CHECKPOINT]
    choice = find_model(lake, served, properties[PROPERTY_CHECKPOINT], settings, collection)
    if choice is not None:
        return choice
    found = describe_checkpoint(folder, settings.detector, collection)
    cause = (
        f"--model {settings.model} is model {found.model_version[:12]}"
        if settings.model
        else f"the checkpoint {found.uri} or its detector has changed since and is now {found.model_version[:12]}, and "
        "the lake has no copy of the served one"
    )
    raise NightStoppedError(
        f"alias {settings.alias} serves model {served[:12]} (collection {collection}), but {cause}. A night never "
        "mixes models: put the served checkpoint and detector back, or bring the new model in with `moon rollout`"
    )


def check_schema_version(collection: str, properties: Mapping[str, str]) -> None:
    """Check that this code supports the schema version of a collection: its own or an earlier one.

    Raises:
        SchemaVersionError: it is a later version; nothing was changed.
    """
    found = read_schema_version(properties)
    if found > COLLECTION_SCHEMA_VERSION:
        raise SchemaVersionError(
            f"collection {collection} has schema version {found}, this code writes {COLLECTION_SCHEMA_VERSION}: a "
            "later release made it: use that release"
        )


def log_lacking_fields(collection: str, properties: Mapping[str, str]) -> None:
    """Log the fields that a collection of an earlier schema version lacks; runs continue without them."""
    known = select_scalar_fields(read_schema_version(properties))
    lacking = [name for name in select_scalar_fields(COLLECTION_SCHEMA_VERSION) if name not in known]
    if lacking:
        log.warning(
            "%s has the fields of an earlier release and is served with them; `moon migrate` adds %s, encoding nothing",
            collection,
            ", ".join(lacking),
        )


def find_model(
    lake: Lake, model_version: str, registered: str, settings: Settings, collection: str
) -> ModelChoice | None:
    """Return the checkpoint of a model version: the named folder if it still has that version, else the lake's copy.

    Args:
        lake: lake with copies of served models.
        model_version: the wanted version.
        registered: folder that the version was registered with.
        settings: a configured checkpoint is used before the registered folder. If it is another folder, another model
            is requested, and the lake's copy is not used instead.
        collection: collection of the version.

    Returns:
        The checkpoint; None if neither place has the version.
    """
    named = settings.model or registered
    candidates: list[tuple[str, str | None]] = [(named, settings.detector)]
    stored = find_stored_model(lake.storage, model_version)
    if stored and Path(named).resolve() == Path(registered).resolve():
        candidates.append(stored)
    for folder, detector in candidates:
        try:
            choice = describe_checkpoint(folder, detector, collection)
        except NightStoppedError:  # the folder is missing, or has another model
            continue
        if choice.model_version == model_version:
            if folder != named:
                log.warning("%s does not hold the served model any more: the lake's copy is used", named)
            return choice
    return None


def describe_checkpoint(path: str | None, detector: str | None = None, collection: str | None = None) -> ModelChoice:
    """Return the description of a checkpoint from its files, without loading weights.

    Args:
        path: the checkpoint's folder; None is the one in the repository.
        detector: the detector's folder; None is the one in the repository.
        collection: the collection that serves it already; None: named after the version.

    Raises:
        NightStoppedError: there is no checkpoint or no detector in the folder.
    """
    folder = Path(path).resolve() if path else checkpoint_dir(DEFAULT_MODEL)
    if not (folder / "config.json").is_file():
        raise NightStoppedError(f"no checkpoint at {folder} (config.json is missing): name its folder with --model")
    try:
        detector_id, shape = compute_detector_version(detector), read_model_shape(folder)
        version = combine_version(folder, detector_id)
    except (FileNotFoundError, ValueError) as error:
        raise NightStoppedError(f"checkpoint {folder} cannot be used: {error}") from error
    return ModelChoice(
        uri=str(folder),
        model_version=version,
        detector_version=detector_id,
        dimension=shape.dimension,
        max_images=shape.max_images,
        collection=collection or collection_name(version),
        detector=detector,
    )


def register_model(lake: Lake, model: ModelChoice) -> None:
    """Record in `models` the folder of a model version; the same folder is recorded once."""
    place = hashlib.sha256(model.uri.encode()).hexdigest()[:12]
    sink = FileSink(lake.storage, "models", {})
    sink.write_rows(
        [
            {
                "model_version": model.model_version,
                "uri": model.uri,
                "dimension": model.dimension,
                "detector_version": model.detector_version,
                "registered_at": datetime.now(UTC),
            }
        ]
    )
    lake.commit("models", sink.close(), attempt=f"model/{model.model_version}/{place}", partition={})


def read_registered_model(lake: Lake, settings: Settings, model_version: str, collection: str) -> ModelChoice:
    """Return the checkpoint of a frozen plan, after checking that its files are still that model.

    Args:
        lake: lake with the registered folder of the version.
        settings: a configured checkpoint or detector folder is used before the registered one.
        model_version, collection: model version and collection of the plan.

    Raises:
        NightStoppedError: the files are gone or have changed since the plan.
    """
    rows = [row for row in lake.read_arrow("models").to_pylist() if row["model_version"] == model_version]
    latest = max(rows, key=lambda row: row["registered_at"])
    folder = settings.model or latest["uri"]
    choice = find_model(lake, model_version, latest["uri"], settings, collection)
    if choice is None:
        found = describe_checkpoint(folder, settings.detector, collection)
        raise NightStoppedError(
            f"the plan is for model {model_version[:12]}, but {found.uri} with its detector is now "
            f"{found.model_version[:12]}: put the files back, or plan again with `moon prepare`"
        )
    return choice
