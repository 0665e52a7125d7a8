"""The oracle: what the lake and Milvus hold after a run, without what a repeated run may change (times, epochs, names).

Tables are compared as sorted lists of rows, so that a row that is there twice is a difference. Sets are compared where
a repeated run may rightly leave a second copy: regions, the image store, the history of runs.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jobs.lake.store import Lake, open_lake
from jobs.milvus.client import connect, scan_rows
from jobs.settings import Settings
from jobs.state.lease import read_lease_state
from jobs.state.ledger import UPSERT, read_ledger_head
from schemas.collection import ID_FIELD, VECTOR_FIELD, is_scratch, parse_schema_version, select_scalar_fields

EXACT: Mapping[str, tuple[str, ...]] = {
    "snapshots": (),
    "row_roles": (),
    "products": (),
    "quarantine": (),
    "image_versions": ("outcome",),  # fetched, or stored where the first attempt has fetched it
    "changes": ("run_id",),
    "served": ("epoch",),
    "models": ("registered_at",),
}
"""Tables whose rows must be the same, each with the columns that may differ."""

SAME_VECTOR = 1e-4
"""Most that a number of a vector may differ; batches of a repeated run are the same."""


@dataclass
class Found:
    """What a lake and a Milvus hold.

    Attributes:
        tables: rows by table, as sorted JSON texts.
        vectors: vectors of the lake by key.
        collections: rows by collection and id, without vector and epoch.
        embeddings: vectors by collection and id.
        aliases: collection by alias.
        heads: version, high-water date and rows of each ledger.
        broken: rules that hold in every state and do not in this one.
    """

    tables: dict[str, list[str]] = field(default_factory=dict)
    vectors: dict[str, list[float]] = field(default_factory=dict)
    collections: dict[str, dict[str, str]] = field(default_factory=dict)
    embeddings: dict[str, list[float]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    heads: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def read_state(settings: Settings, *, has_milvus: bool = True) -> Found:
    """Return what the lake and the Milvus of some settings hold; every live file of the lake is read."""
    lake, found = open_lake(settings), Found()
    for name, dropped in EXACT.items():
        found.tables[name] = _list_rows(lake, name, dropped)
    found.tables["regions"] = sorted(set(_list_rows(lake, "regions", ())))
    found.tables["stored_images"] = sorted(set(_list_rows(lake, "stored_images", ("pack", "offset", "stored_at"))))
    latest = {row["uri"]: row for row in sorted(lake.read_arrow("images").to_pylist(), key=lambda row: row["asked_at"])}
    found.tables["images"] = sorted(_to_text(row, ("outcome", "asked_at", "date", "size")) for row in latest.values())
    done = [row for row in lake.read_arrow("runs").to_pylist() if row["outcome"] == "success"]
    found.tables["runs"] = sorted({f"{row['date']} {row['stage']}" for row in done if row["stage"] != "alias"})
    for row in lake.read_arrow("vectors").to_pylist():
        key = _to_text(row, ("vector",))
        if key in found.vectors:
            found.broken.append(f"twice in vectors: {key}")
        found.vectors[key] = row["vector"]
    if has_milvus:
        _read_milvus(settings, lake, found)
    return found


def compare(found: Found, clean: Found) -> list[str]:
    """Return what differs from a clean run, one line each; nothing if all is as it must be."""
    differences = list(found.broken)
    for part in ("tables", "collections", "aliases", "heads"):
        mine, wanted = getattr(found, part), getattr(clean, part)
        for name in sorted(mine.keys() | wanted.keys()):
            if mine.get(name) != wanted.get(name):
                differences.append(f"{part}: {name}: {_describe(mine.get(name), wanted.get(name))}")
    for part in ("vectors", "embeddings"):
        mine, wanted = getattr(found, part), getattr(clean, part)
        if mine.keys() != wanted.keys():
            differences.append(f"{part}: {sorted(mine.keys() ^ wanted.keys())[:3]}")
        differences += [
            f"{part}: {key} has another vector"
            for key in mine.keys() & wanted.keys()
            if not np.allclose(mine[key], wanted[key], atol=SAME_VECTOR)
        ]
    return differences


def _read_milvus(settings: Settings, lake: Lake, found: Found) -> None:
    with connect(settings) as client:
        for alias in client.list_aliases()["aliases"]:
            found.aliases[alias] = client.describe_alias(alias)["collection_name"]
        for name in client.list_collections():
            if is_scratch(name):
                continue
            fields = [one for one in select_scalar_fields(parse_schema_version(name)) if one != ID_FIELD]
            client.load_collection(name)
            rows = [row for page in scan_rows(client, name, [*fields, VECTOR_FIELD]) for row in page]
            found.collections[name] = {row[ID_FIELD]: _to_text(row, (VECTOR_FIELD, "epoch")) for row in rows}
            found.embeddings |= {f"{name} {row[ID_FIELD]}": [float(x) for x in row[VECTOR_FIELD]] for row in rows}
            _check_ledger(lake, name, {row[ID_FIELD]: row["epoch"] for row in rows}, len(rows), found)


def _check_ledger(lake: Lake, name: str, epochs: dict[str, int], count: int, found: Found) -> None:
    """Check what the ledger says of a collection: who is held, of which epoch, how many; and that no lease is held."""
    head = read_ledger_head(lake, name)
    found.heads[name] = (head.version, head.high_water, head.rows)
    rows = sorted(lake.read_arrow("served", {"collection": name}).to_pylist(), key=lambda row: row["epoch"])
    latest = {row[ID_FIELD]: row for row in rows}
    held = {key: row["epoch"] for key, row in latest.items() if row["op"] == UPSERT}
    if held != epochs:
        found.broken.append(f"epochs of {name}: {_describe(sorted(epochs.items()), sorted(held.items()))}")
    if not head.rows == count == len(epochs):
        found.broken.append(f"{name} has {count} rows of {len(epochs)} ids, its ledger says {head.rows}")
    if not read_lease_state(lake, name).released:
        found.broken.append(f"the lease on {name} is held")


def _list_rows(lake: Lake, table: str, dropped: Collection[str]) -> list[str]:
    return sorted(_to_text(row, dropped) for row in lake.read_arrow(table).to_pylist())


def _to_text(row: Mapping[str, Any], dropped: Collection[str]) -> str:
    kept = {name: value for name, value in row.items() if name not in dropped}
    return json.dumps(kept, sort_keys=True, default=str)


def _describe(mine: Any, wanted: Any) -> str:
    if not isinstance(mine, list | dict) or not isinstance(wanted, list | dict):
        return f"{str(mine)[:150]} instead of {str(wanted)[:150]}"
    mine, wanted = (list(one.items()) if isinstance(one, dict) else one for one in (mine, wanted))
    surplus, missing = [one for one in mine if one not in wanted], [one for one in wanted if one not in mine]
    return f"{len(mine)} of {len(wanted)}; surplus {str(surplus)[:200]}; missing {str(missing)[:200]}"
