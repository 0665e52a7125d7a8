"""Writes training pairs as Parquet in row groups of equal size, and the manifest last (`moon_model.training.pairs`).

Tasks write whole files and describe them; the driver writes the manifest, so an interrupted job leaves no data set.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from jobs.stages.task_io import RecordBatches, repartition_by_key
from moon_model.training.pairs import MANIFEST_FILE, Manifest, PairFile

GROUPS_PER_FILE = 64
PAIR_FILE_SCHEMA = pa.schema(
    {
        "pair_id": pa.int64(),
        "kind": pa.string(),
        "identity": pa.int64(),
        "query": pa.string(),
        "item": pa.string(),
        "negatives": pa.string(),
    }
)


def write_pairs(pairs: DataFrame, out: Path, *, rows_per_group: int, kinds: Mapping[str, int], seed: int) -> Manifest:
    """Write pairs and their manifest into a folder, whose earlier content is deleted, and return the manifest.

    Args:
        pairs: pair_id (0 … N - 1), kind, identity, query, item and negatives as structs; N is a multiple of
            ``rows_per_group``.
        out: folder that driver and tasks can write.
        rows_per_group: rows of every row group.
        kinds: number of pairs of each kind.
        seed: seed with which the pairs were drawn, for the manifest.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    per_file = rows_per_group * GROUPS_PER_FILE
    placed = pairs.withColumn("file", (pairs.pair_id / per_file).cast("int"))
    tasks = max(1, -(-sum(kinds.values()) // per_file))
    task = partial(_write, out=str(out), rows_per_group=rows_per_group)
    rows = repartition_by_key(placed, tasks, ["file"], ["pair_id"]).mapInArrow(task, "file string").collect()
    files = sorted((PairFile.model_validate_json(row["file"]) for row in rows), key=lambda file: file.path)
    manifest = Manifest(
        rows=sum(file.rows for file in files),
        row_groups=sum(file.rows for file in files) // rows_per_group,
        rows_per_group=rows_per_group,
        files=files,
        kinds=dict(kinds),
        seed=seed,
    )
    (out / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n")
    return manifest


def _write(batches: RecordBatches, out: str, rows_per_group: int) -> Iterator[pa.RecordBatch]:
    """Write the files of one task; its rows come in order of pair_id, so a file has consecutive pairs."""
    waiting: dict[int, list[dict[str, Any]]] = {}
    for batch in batches:
        for row in batch.to_pylist():
            waiting.setdefault(row["file"], []).append(_flatten_row(row))
    described = []
    for number, rows in waiting.items():
        path = Path(out) / f"part-{number:05d}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, PAIR_FILE_SCHEMA), path, row_group_size=rows_per_group)
        digest = sha256(path.read_bytes()).hexdigest()
        described.append(PairFile(path=path.name, rows=len(rows), sha256=digest).model_dump_json())
    yield pa.RecordBatch.from_arrays([pa.array(described, pa.string())], ["file"])


def _flatten_row(row: Mapping[str, Any]) -> dict[str, Any]:
    products = {name: build_pair_product(row[name]) for name in ("query", "item")}
    negatives = [
        {"identity": other["identity"], "product": build_pair_product(other["product"])}
        for other in row["negatives"] or ()
    ]
    texts = {name: json.dumps(part, ensure_ascii=False) for name, part in (products | {"negatives": negatives}).items()}
    return {**row, **texts}


def build_pair_product(product: Mapping[str, Any]) -> dict[str, Any]:
    """Return a product in the form of training pairs: without empty fields, with a region for each image."""
    fields = {name: value for name, value in product.items() if value and name != "views"}
    if "attributes" in fields:
        fields["attributes"] = dict(fields["attributes"])
    views = product.get("views") or ()
    if views:
        fields["images"] = [view["uri"] for view in views]
        fields["regions"] = [view["box"] for view in views]
    return fields
