"""Training pairs made from purchases: their types, their form on disk, and the order in which an epoch reads them.

``moon make-pairs`` writes flat Parquet (petastorm reads no nested columns) in row groups of equal size, and
``manifest.json`` last: without a manifest there is no data set. Both readers (``reader_arrow``, ``reader_petastorm``)
guarantee the same: the order of an epoch is a function of (seed, epoch, rank), every rank has the same number of
batches, and a missing row is an error, not a shorter epoch.

This module imports no torch, pyarrow or petastorm, because the Spark job that writes pairs imports it.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol, TypeVar, get_args

import numpy as np
from pydantic import Field, ValidationError, model_validator

from moon_model.detection.region import Box
from moon_model.product import Product
from moon_model.training.config import Section

PAIRS_SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
PAIR_COLUMNS = ("pair_id", "kind", "identity", "query", "item", "negatives")
"""Types: int64, string, int64, string (JSON product), string (JSON product), string (JSON list of negatives)."""

SHUFFLE_GROUPS = 8
"""Number of row groups whose rows are mixed, so that neighbouring pairs are in different batches."""

QueryKind = Literal["image", "text", "both"]
_T = TypeVar("_T")


class PairDataError(ValueError):
    """The pairs on disk differ from their manifest or cannot be read; the message names the file or the row."""


@dataclass(frozen=True)
class TrainingItem:
    """A product of a training pair.

    Attributes:
        identity: number shared by a product and its variants. Items with the same number are never negatives.
        product: input of the model; image sources are URIs or paths.
        regions: core region of each image as stored in the lake; None: no crop.
    """

    identity: int
    product: Product
    regions: tuple[Box | None, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A query, the item bought after it, and hard negatives of the same category (docs/paper.md, "Training")."""

    id: int
    kind: QueryKind
    query: TrainingItem
    item: TrainingItem
    negatives: tuple[TrainingItem, ...] = ()


def parse_pair(row: Mapping[str, Any]) -> Pair:
    """Return the pair of one row with the columns ``PAIR_COLUMNS``.

    Raises:
        PairDataError: a column is missing or has another content.
    """
    try:
        identity = int(row["identity"])
        if row["kind"] not in get_args(QueryKind):
            raise ValueError(f"kind is one of {', '.join(get_args(QueryKind))}, not {row['kind']!r}")
        query, item = (parse_item(identity, json.loads(row[column])) for column in ("query", "item"))
        others = json.loads(row["negatives"])
        negatives = tuple(parse_item(int(other["identity"]), other["product"]) for other in others)
        return Pair(int(row["pair_id"]), row["kind"], query, item, negatives)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PairDataError(f"pair {row.get('pair_id', '?')} cannot be read: {error!r}") from error


def parse_item(identity: int, stored: Mapping[str, Any]) -> TrainingItem:
    """Return the item of a JSON product: the fields of ``Product`` and ``regions``, without the empty ones."""
    fields = {name: value for name, value in stored.items() if name != "regions"}
    regions = tuple(None if box is None else _parse_box(box) for box in stored.get("regions", ()))
    product = Product.from_value({"id": str(identity), **fields})
    if len(regions) > len(product.images):
        raise ValueError(f"{product.id}: {len(regions)} regions, but {len(product.images)} images")
    return TrainingItem(identity, product, regions)


def _parse_box(values: Iterable[float]) -> Box:
    x0, y0, x1, y1 = (float(value) for value in values)
    return x0, y0, x1, y1


class PairFile(Section):
    """One Parquet file of a data set; ``path`` is relative to the manifest's folder."""

    path: str
    rows: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Section):
    """The contents of a data set of pairs. Each row group of each file has exactly ``rows_per_group`` rows."""

    schema_version: int = PAIRS_SCHEMA_VERSION
    rows: int = Field(ge=1)
    row_groups: int = Field(ge=1)
    rows_per_group: int = Field(ge=1)
    files: list[PairFile] = Field(min_length=1)
    kinds: dict[QueryKind, int]
    seed: int

    @model_validator(mode="after")
    def _check_sums(self) -> "Manifest":
        if self.schema_version != PAIRS_SCHEMA_VERSION:
            raise ValueError(f"schema_version is {self.schema_version}; this code reads {PAIRS_SCHEMA_VERSION}")
        if self.rows != self.row_groups * self.rows_per_group:
            raise ValueError(f"{self.rows} rows are not {self.row_groups} row groups of {self.rows_per_group}")
        if self.rows != sum(file.rows for file in self.files) or self.rows != sum(self.kinds.values()):
            raise ValueError(f"files and kinds do not add up to {self.rows} rows")
        # A path that starts at the root or leads upwards has one of these parts.
        if outside := [file.path for file in self.files if {"/", "//", ".."} & {*PurePosixPath(file.path).parts}]:
            raise ValueError(f"files outside the data set's folder: {', '.join(outside)}")
        return self

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Return the content of ``manifest.json``.

        Raises:
            PairDataError: the file is missing, damaged, or of another schema version.
        """
        path = folder / MANIFEST_FILE
        if not path.is_file():
            raise PairDataError(
                f"no training pairs in {folder} ({MANIFEST_FILE} is missing); `moon make-pairs` writes them"
            )
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, one['loc']))} {one['msg']}".strip() for one in error.errors())
            raise PairDataError(f"{path} is no manifest of pairs: {faults}") from error

    def verify(self, folder: Path) -> None:
        """Check every file against its SHA-256; reads the whole data set once.

        Raises:
            PairDataError: a file is missing or differs.
        """
        for file in self.files:
            path = folder / file.path
            if not path.is_file():
                raise PairDataError(f"{path} is missing; write the pairs again with `moon make-pairs`")
            with path.open("rb") as stream:
                if file_digest(stream, "sha256").hexdigest() != file.sha256:
                    raise PairDataError(f"{path} differs from the manifest (digest); write the pairs again")


@dataclass(frozen=True)
class RankShare:
    """The part of a data set that one rank reads in an epoch.

    All ranks read the same number of row groups and batches, so that no rank waits for another. The remaining row
    groups (fewer than ranks, different ones in each epoch) and the incomplete last batch of a rank are not read.

    Raises:
        ValueError: the data set is too small for one batch per rank.
    """

    manifest: Manifest
    batch_size: int
    rank: int = 0
    ranks: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.ranks or self.batch_size < 1:
            raise ValueError(f"rank {self.rank} of {self.ranks}, batch size {self.batch_size}: out of range")
        if not self.batches:
            raise ValueError(
                f"{self.manifest.rows} pairs give {self.ranks} ranks no batch of {self.batch_size} each; "
                "lower data.batch_size or make more pairs"
            )

    @property
    def groups(self) -> int:
        """Row groups per rank and epoch."""
        return self.manifest.row_groups // self.ranks

    @property
    def rows(self) -> int:
        """Rows per rank and epoch."""
        return self.groups * self.manifest.rows_per_group

    @property
    def batches(self) -> int:
        """Batches per rank and epoch."""
        return self.rows // self.batch_size

    def make_generator(self, epoch: int, *purpose: int) -> np.random.Generator:
        """Return a generator that depends only on the seed, the epoch and the purpose."""
        return np.random.default_rng((self.seed, epoch, *purpose))


class PairSource(Protocol):
    """A source of pairs, as the trainer uses it."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch, the same for every rank."""

    def iter_epoch(self, epoch: int, start: int = 0) -> Iterator[list[Pair]]:
        """Yield the batches of an epoch, without the first ``start``, always in the same order."""


class PairReader(ABC):
    """A source of the pairs in a folder; subclasses read the row groups.

    Args:
        folder: folder with ``manifest.json``.
        batch_size: pairs per batch and rank.
        rank: rank of this process, below ``ranks``.
        ranks: number of processes that train together.
        seed: seed of the order of row groups and rows.

    Raises:
        PairDataError: the manifest is missing or damaged, or the files differ from it.
        ValueError: there are too few pairs for one batch per rank.
    """

    def __init__(self, folder: str | Path, batch_size: int, *, rank: int = 0, ranks: int = 1, seed: int = 0) -> None:
        self.folder = Path(folder).resolve()
        self.share = RankShare(Manifest.read(self.folder), batch_size, rank, ranks, seed)

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch, the same for every rank."""
        return self.share.batches

    def iter_epoch(self, epoch: int, start: int = 0) -> Iterator[list[Pair]]:
        """Yield the batches of an epoch, without the first ``start``.

        Raises:
            PairDataError: a row cannot be read, or rows are missing.
        """
        for rows in mix_batches(self._read_groups(epoch), self.share, epoch, start):
            yield [parse_pair(row) for row in rows]

    @abstractmethod
    def _read_groups(self, epoch: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of this rank's row groups in the order of the epoch."""


def mix_batches(groups: Iterable[list[_T]], share: RankShare, epoch: int, start: int = 0) -> Iterator[list[_T]]:
    """Yield batches of rows that are shuffled over ``SHUFFLE_GROUPS`` row groups, and count the rows.

    Args:
        groups: row groups of a rank in the order of the epoch.
        share: part of the data set that the rank must have read at the end.
        epoch: number of the epoch; it determines the order together with seed and rank.
        start: number of batches that are skipped (a resumed run has seen them).

    Raises:
        PairDataError: a row group or the epoch has another number of rows than the manifest says.
    """
    # 1. Count the rows and collect `SHUFFLE_GROUPS` row groups; the last collection may be smaller.
    rng = share.make_generator(epoch, 1, share.rank)
    unmixed: list[_T] = []
    mixed: list[_T] = []
    seen = 0
    number = 0
    for count, group in enumerate(groups, start=1):
        if len(group) != share.manifest.rows_per_group:
            raise PairDataError(f"a row group has {len(group)} rows, the manifest says {share.manifest.rows_per_group}")
        seen += len(group)
        unmixed += group
        if count % SHUFFLE_GROUPS and count != share.groups:
            continue
        # 2. Shuffle the collected rows behind those that the last batch left over.
        mixed += [unmixed[index] for index in rng.permutation(len(unmixed))]
        unmixed = []
        # 3. Cut full batches, without those that a resumed run has seen.
        while len(mixed) >= share.batch_size:
            batch = mixed[: share.batch_size]
            mixed = mixed[share.batch_size :]
            number += 1
            if number > start:
                yield batch
    # 4. A missing row is an error, not a shorter epoch.
    if seen != share.rows:
        raise PairDataError(
            f"epoch {epoch} gave rank {share.rank} {seen} rows instead of {share.rows}: rows were lost on the way"
        )
