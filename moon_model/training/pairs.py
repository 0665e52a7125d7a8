"""Purchases as training pairs, how they lie on disk, and in which order an epoch reads them.

``moon make-pairs`` writes flat Parquet (petastorm reads no nested columns) in row groups of equal size, and
``manifest.json`` beside it last: without a manifest there is no data set. The readers (``reader_arrow``,
``reader_petastorm``) share what is here, so that a machine without petastorm trains on the same promise: an epoch's
order is a function of (seed, epoch, rank), every rank gets the same number of batches, and a row that is not there is
an error, never a shorter epoch.

No torch, pyarrow or petastorm in this module: the Spark job imports it to write.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol, TypeVar, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moon_model.detection.region import Box
from moon_model.product import Product

PAIRS_SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
PAIR_COLUMNS = ("pair_id", "kind", "identity", "query", "item", "negatives")
"""int64, string, int64, string (JSON product), string (JSON product), string (JSON list of negatives)."""

SHUFFLE_GROUPS = 8
"""Row groups whose rows are mixed: pairs written side by side end up in different batches."""

QueryKind = Literal["image", "text", "both"]
_T = TypeVar("_T")


class PairDataError(ValueError):
    """The pairs on disk are not what their manifest promises; the message names the file and the row."""


@dataclass(frozen=True)
class TrainingItem:
    """A product in training.

    Attributes:
        identity: shared by a product and its variants; two items of one identity are never negatives.
        product: as the model reads it; image sources are URIs or paths.
        regions: core region of each image (None: no crop), as the lake's detector found it.
    """

    identity: int
    product: Product
    regions: tuple[Box | None, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A query, the item bought after it, and other items of the same category (paper, "Training")."""

    id: int
    kind: QueryKind
    query: TrainingItem
    item: TrainingItem
    negatives: tuple[TrainingItem, ...] = ()


def parse_pair(row: Mapping[str, Any]) -> Pair:
    """Read one row of the columns ``PAIR_COLUMNS``.

    Raises:
        PairDataError: a column is missing or holds something else.
    """
    try:
        identity = int(row["identity"])
        if row["kind"] not in get_args(QueryKind):
            raise ValueError(f"kind is one of {', '.join(get_args(QueryKind))}, not {row['kind']!r}")
        return Pair(
            id=int(row["pair_id"]),
            kind=row["kind"],
            query=parse_item(identity, json.loads(row["query"])),
            item=parse_item(identity, json.loads(row["item"])),
            negatives=tuple(
                parse_item(int(other["identity"]), other["product"]) for other in json.loads(row["negatives"])
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PairDataError(f"pair {row.get('pair_id', '?')} cannot be read: {error!r}") from error


def parse_item(identity: int, stored: Mapping[str, Any]) -> TrainingItem:
    """Read a JSON product: the fields of ``Product`` and ``regions``, empty ones left out."""
    fields = {name: value for name, value in stored.items() if name != "regions"}
    regions = tuple(None if box is None else _box(box) for box in stored.get("regions", ()))
    product = Product.from_value({"id": str(identity), **fields})
    if len(regions) > len(product.images):
        raise ValueError(f"{product.id}: {len(regions)} regions, but {len(product.images)} images")
    return TrainingItem(identity, product, regions)


def _box(values: Iterable[float]) -> Box:
    x0, y0, x1, y1 = (float(value) for value in values)
    return x0, y0, x1, y1


class PairFile(BaseModel):
    """One Parquet file of a data set; ``path`` is relative to the manifest's folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str
    rows: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What a data set of pairs holds; every row group of every file has exactly ``rows_per_group`` rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: int = PAIRS_SCHEMA_VERSION
    rows: int = Field(ge=1)
    row_groups: int = Field(ge=1)
    rows_per_group: int = Field(ge=1)
    files: list[PairFile] = Field(min_length=1)
    kinds: dict[QueryKind, int]
    seed: int

    @model_validator(mode="after")
    def _adds_up(self) -> "Manifest":
        if self.schema_version != PAIRS_SCHEMA_VERSION:
            raise ValueError(f"schema_version is {self.schema_version}; this code reads {PAIRS_SCHEMA_VERSION}")
        if self.rows != self.row_groups * self.rows_per_group:
            raise ValueError(f"{self.rows} rows are not {self.row_groups} row groups of {self.rows_per_group}")
        if self.rows != sum(file.rows for file in self.files) or self.rows != sum(self.kinds.values()):
            raise ValueError(f"files and kinds do not add up to {self.rows} rows")
        if outside := [file.path for file in self.files if not _inside(file.path)]:
            raise ValueError(f"files outside the data set's folder: {', '.join(outside)}")
        return self

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read ``manifest.json``.

        Raises:
            PairDataError: it is absent, damaged, or of another schema version.
        """
        path = folder / MANIFEST_FILE
        if not path.is_file():
            raise PairDataError(
                f"no training pairs in {folder} ({MANIFEST_FILE} is missing); `moon make-pairs` writes them"
            )
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            what = "; ".join(f"{'.'.join(map(str, one['loc']))} {one['msg']}".strip() for one in error.errors())
            raise PairDataError(f"{path} is no manifest of pairs: {what}") from error

    def verify(self, folder: Path) -> None:
        """Compare every file with its digest; reads the whole data set once.

        Raises:
            PairDataError: a file is missing or differs.
        """
        for file in self.files:
            path = folder / file.path
            if not path.is_file():
                raise PairDataError(f"{path} is missing; write the pairs again with `moon make-pairs`")
            with path.open("rb") as stream:
                digest = sha256()
                while block := stream.read(1 << 20):
                    digest.update(block)
            if digest.hexdigest() != file.sha256:
                raise PairDataError(f"{path} differs from the manifest (digest); write the pairs again")


def _inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


@dataclass(frozen=True)
class RankShare:
    """The part of a data set that one rank reads in an epoch.

    Row groups are dealt out evenly; the few left over (fewer than ranks, others each epoch) are nobody's, and so is
    the tail of a rank's rows that fills no batch: no rank ever waits for one that has more.

    Raises:
        ValueError: the data set is too small to give every rank one batch.
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
        """Row groups a rank reads in an epoch."""
        return self.manifest.row_groups // self.ranks

    @property
    def rows(self) -> int:
        """Rows a rank reads in an epoch."""
        return self.groups * self.manifest.rows_per_group

    @property
    def batches(self) -> int:
        """Batches a rank gets in an epoch; the same for all ranks."""
        return self.rows // self.batch_size

    def make_generator(self, epoch: int, *purpose: int) -> np.random.Generator:
        """Random numbers that depend on the seed, the epoch and the purpose alone."""
        return np.random.default_rng((self.seed, epoch, *purpose))


class PairSource(Protocol):
    """Any reader of pairs: the trainer asks for no more."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch, the same for every rank."""
        ...

    def epoch(self, number: int, start: int = 0) -> Iterator[list[Pair]]:
        """Yield the batches of an epoch from ``start`` on, always in the same order."""
        ...


def mix_batches(groups: Iterable[list[_T]], share: RankShare, epoch: int, start: int = 0) -> Iterator[list[_T]]:
    """Mix the rows of neighbouring groups, count them, and cut them into batches.

    Args:
        groups: a rank's row groups in the order of the epoch.
        share: what the manifest promises this rank.
        epoch: its number; decides, with seed and rank, how rows are mixed.
        start: batches to leave out in front (a resumed run has seen them).

    Raises:
        PairDataError: a group or the epoch has not the promised number of rows.
    """
    draw = share.make_generator(epoch, 1, share.rank)
    waiting: list[_T] = []
    rest: list[_T] = []
    seen = number = 0
    for count, group in enumerate(groups, start=1):
        if len(group) != share.manifest.rows_per_group:
            raise PairDataError(f"a row group has {len(group)} rows, the manifest says {share.manifest.rows_per_group}")
        seen += len(group)
        waiting += group
        if count % SHUFFLE_GROUPS and count != share.groups:
            continue
        rest += [waiting[index] for index in draw.permutation(len(waiting))]
        waiting = []
        while len(rest) >= share.batch_size:
            batch, rest = rest[: share.batch_size], rest[share.batch_size :]
            number += 1
            if number > start:
                yield batch
    if seen != share.rows:
        raise PairDataError(
            f"epoch {epoch} gave rank {share.rank} {seen} rows instead of {share.rows}: rows were lost on the way"
        )
