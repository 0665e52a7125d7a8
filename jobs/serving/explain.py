"""explain: tells where one product is: what the lake knows of it, what Milvus holds, and what is wrong with that.

Only rows of this product are read, without Spark, and nothing is created. Where Milvus does not answer, the history in
the lake is returned all the same.
"""

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.errors import MoonError, NightStoppedError
from jobs.lake.lookup import find_rows, iter_batches
from jobs.lake.store import Lake, open_lake
from jobs.milvus.client import build_ids_filter, connect_reader, count_rows, fetch_rows, read_collection_properties
from jobs.serving.alias import find_alias_problem
from jobs.serving.collection_checks import load_collection
from jobs.serving.row_faults import (
    DOUBLED,
    MISSING,
    STALE,
    find_row_faults,
    find_vector_faults,
    measure_norm,
    suggest_remedy,
)
from jobs.serving.search import read_served_collection, search_nearest
from jobs.settings import Settings
from jobs.state.lease import describe_holder, find_writer
from jobs.state.ledger import DELETE
from jobs.state.product_history import ProductDate, ProductHistory, read_product_history
from schemas.collection import ID_FIELD, VECTOR_FIELD, read_schema_version, select_scalar_fields
from schemas.product import find_image_key

if TYPE_CHECKING:
    from pymilvus import MilvusClient

NEIGHBOURS = 5

MAX_LIKE_IDS = 5
MAX_COMPARED_IDS = 20_000
"""Ids that are compared letter by letter to find some like an unknown one; of more, only those that share a part."""


@dataclass
class HeldRow:
    """What the collection holds of a product.

    Attributes:
        fields: its scalar fields.
        vector: its vector, [D].
        rows: number of rows with its id; more than one is a fault.
        neighbours: nearest other products (`jobs.serving.search.search_products`).
    """

    fields: dict[str, Any]
    vector: NDArray[np.float32]
    rows: int
    neighbours: list[dict[str, Any]]

    @property
    def norm(self) -> float:
        """Length of the vector."""
        return measure_norm(self.vector)


@dataclass
class Explanation:
    """Where a product is.

    Attributes:
        product_id: its id.
        history: what the lake knows of it.
        alias, collection, model_version: what readers query; the last two are empty where nothing could be read.
        held: its row in the collection; None where there is none, or the collection could not be read.
        wanted: its row by the ledger; None where it is not to be served.
        faults: what is wrong with its row (`jobs.serving.row_faults.FAULTS`).
        problems: what is wrong beyond the product, each with its remedy.
        regions: region of each photo of its latest row, by number from 1.
        like_ids: ids like it, where the lake does not know it.
    """

    product_id: str
    history: ProductHistory
    alias: str
    collection: str = ""
    model_version: str = ""
    held: HeldRow | None = None
    wanted: dict[str, Any] | None = None
    faults: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    regions: dict[int, dict[str, Any]] = field(default_factory=dict)
    like_ids: list[str] = field(default_factory=list)

    @property
    def last(self) -> ProductDate | None:
        """The latest date of the lake since the product was first delivered."""
        return self.history.dates[-1] if self.history.dates else None

    @property
    def remedy(self) -> str:
        """What corrects its row; empty where nothing is wrong with it."""
        return suggest_remedy(self.faults) if self.faults else ""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong, as far as could be read."""
        return not self.faults and not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON; vectors as their lengths."""
        held = self.held
        found = held and {**held.fields, "norm": round(held.norm, 6), "rows": held.rows, "neighbours": held.neighbours}
        vectors = [
            {name: value for name, value in row.items() if name not in (VECTOR_FIELD, ID_FIELD)}
            | {"norm": round(measure_norm(row[VECTOR_FIELD]), 6)}
            for row in self.history.vectors
        ]
        return {
            "product_id": self.product_id,
            "alias": self.alias,
            "collection": self.collection,
            "model_version": self.model_version,
            "milvus": found,
            "ledger": self.wanted,
            "faults": self.faults,
            "remedy": self.remedy,
            "problems": self.problems,
            "dates": [one.as_dict() for one in self.history.dates],
            "ledger_history": self.history.ledger,
            "vectors": vectors,
            "regions": self.regions,
            "like_ids": self.like_ids,
        }


def explain_product(settings: Settings, product_id: str) -> Explanation:
    """Return where a product is, also where nobody knows it.

    Args:
        settings: lake, Milvus and alias.
        product_id: its id, exactly as delivered.

    Raises:
        NightStoppedError: the lake has no date yet.
        DamageError: a file of the lake is damaged.
    """
    lake = open_lake(settings)
    history = read_product_history(lake, product_id)
    if history.last_date is None and not history.dates:
        raise NightStoppedError(
            f"nothing was delivered to the lake {lake.storage.uri()} yet: run `moon nightly`, or name the right lake "
            "with --lake"
        )
    found = Explanation(product_id, history, settings.alias)
    try:
        with connect_reader(settings) as client:
            _read_served(client, lake, settings, found)
    except MoonError as error:
        found.problems.append(f"what Milvus holds is not known: {error}")
    if found.last is not None:
        found.regions = _read_regions(lake, found.last)
    if not history.dates and not history.ledger and found.held is None:
        found.like_ids = find_like_ids(lake, history.last_date or "", product_id)
    return found


def _read_served(client: "MilvusClient", lake: Lake, settings: Settings, found: Explanation) -> None:
    """Add what the collection holds, and compare it with the ledger and the lake's vectors."""
    served = read_served_collection(client, found.alias)
    found.collection, found.model_version = served.collection, served.model_version
    if problem := find_alias_problem(lake, found.alias, served.collection):
        found.problems.append(problem)
    load_collection(client, served.collection)
    rows = [row for row in found.history.ledger if row["collection"] == served.collection]
    found.wanted = rows[-1] if rows and rows[-1]["op"] != DELETE else None
    found.held = _read_row(client, served.collection, found.product_id)
    held = found.held.fields if found.held else None
    found.faults = find_row_faults(held, found.wanted, served.model_version)
    if found.held:
        found.faults += [DOUBLED] if found.held.rows > 1 else []
    if found.held and found.wanted:
        content = (served.model_version, found.wanted["content_hash"])
        vectors = found.history.vectors
        known = [row["vector"] for row in vectors if (row["model_version"], row["content_hash"]) == content]
        is_same = found.held.fields["content_hash"] == found.wanted["content_hash"]
        found.faults += find_vector_faults(found.held.vector, known if is_same else None)
    if found.faults and lake.exists("leases") and (writer := find_writer(lake, served.collection, settings)):
        found.problems.append(
            f"{describe_holder(writer.holder)} writes {served.collection} now: look again when that run has ended"
        )
    if found.wanted and {MISSING, STALE} & set(found.faults):
        epoch = found.wanted["epoch"]
        if not count_rows(client, served.collection, f"epoch == {epoch}"):
            found.problems.append(
                f"the ledger is ahead of {served.collection}, which has no row at all of the write that brought this "
                f"product (epoch {epoch}): Milvus was restored from a backup, or that run wrote to another Milvus"
            )


def _read_row(client: "MilvusClient", collection: str, product_id: str) -> HeldRow | None:
    """Return what a collection holds of a product, with its neighbours; None where it has no row."""
    version = read_schema_version(read_collection_properties(client, collection))
    names = [name for name in select_scalar_fields(version) if name != ID_FIELD]
    rows = fetch_rows(client, collection, [product_id], [*names, VECTOR_FIELD])
    if not rows:
        return None
    vector = np.asarray(rows[0][VECTOR_FIELD], np.float32)
    near = search_nearest(client, collection, vector, NEIGHBOURS + 1)
    others = [hit for hit in near if hit[ID_FIELD] != product_id][:NEIGHBOURS]
    number = count_rows(client, collection, build_ids_filter([product_id]))
    return HeldRow({name: rows[0][name] for name in names}, vector, number, others)


def _read_regions(lake: Lake, last: ProductDate) -> dict[int, dict[str, Any]]:
    """Return box, score and source of the region of each photo, by its number from 1."""
    keys = {find_image_key(str(image["uri"]), image["version"]): image["version"] for image in last.images}
    partition = {"detector_version": last.detector_version}
    rows = find_rows(lake, "regions", list(keys), partition=partition) if last.detector_version else []
    by_key = {row["uri"]: row for row in rows if row["version"] == keys[row["uri"]]}
    numbered = enumerate((find_image_key(str(image["uri"]), image["version"]) for image in last.images), 1)
    names = ("box", "score", "source")
    return {number: {name: by_key[key][name] for name in names} for number, key in numbered if key in by_key}


def find_like_ids(lake: Lake, date: str, product_id: str) -> list[str]:
    """Return ids of a date's products that look like an unknown id, the most similar first.

    Every id is compared letter by letter in a catalogue of up to `MAX_COMPARED_IDS`; of a larger one those that hold
    the id, or begin with its first half, without regard to case.
    """
    text = product_id.strip()
    start = text[: max(1, len(text) // 2)]
    few: list[str] = []
    sharing: list[str] = []
    for batch in iter_batches(lake, "products", [ID_FIELD], {"date": date}):
        ids = batch.column(0)
        shares = pc.or_(pc.match_substring(ids, text, ignore_case=True), pc.starts_with(ids, start, ignore_case=True))
        few += ids.to_pylist() if len(few) <= MAX_COMPARED_IDS else []
        sharing += ids.filter(shares).to_pylist() if len(sharing) <= MAX_COMPARED_IDS else []
    folded = {name.casefold(): name for name in (few if len(few) <= MAX_COMPARED_IDS else sharing)}
    near = difflib.get_close_matches(text.casefold(), list(folded), MAX_LIKE_IDS)
    found = [folded[name] for name in near] + sharing
    return list(dict.fromkeys(found))[:MAX_LIKE_IDS]
