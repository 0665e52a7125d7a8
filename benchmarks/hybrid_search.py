"""Quality of ``moon search --hybrid`` against the search by vectors alone, on three shops.

Each shop is served by a nightly run on Milvus Lite. Four kinds of queries are asked in three ways: by vectors alone,
by Milvus's own hybrid search (BM25 beside the vectors, `RRFRanker`), and by `jobs.serving.hybrid`. The vague queries
are in ``benchmarks/vague_queries.tsv``, which was written before anything was tuned.

    python -m benchmarks.hybrid_search                         # eshop and spree of ../shared/data, and the demo shop
    python -m benchmarks.hybrid_search --folder var/hybrid     # keeps the served shops, and uses them again
"""

import argparse
import csv
import json
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from demo_shop import DemoWorld
from jobs.lake.store import open_lake
from jobs.milvus.client import connect_reader, read_alias_target
from jobs.serving.collection_checks import load_collection
from jobs.serving.hybrid import RANK_CONSTANT, HybridSearch
from jobs.serving.search import search_nearest
from jobs.settings import Settings
from moon_model.encoder import MoonEncoder
from moon_model.evaluation.metrics import bootstrap_mean
from schemas.collection import ID_FIELD, METRIC, SPARSE_FIELD, SPARSE_METRIC, VECTOR_FIELD

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data"
RESULTS = Path(__file__).resolve().parent / "results" / "hybrid_search"
DATE, SEED, DEMO_PRODUCTS = "2026-03-01", 7, 300
K = 10
WAYS = ("dense", "milvus", "hybrid")
KINDS = ("sku", "name", "brand_size", "vague")
MIN_GAIN = {"name": -1.0, "brand_size": 15.0, "vague": -2.0}
"""Points that the first hit of a hybrid search must gain over vectors alone, over all shops."""
MIN_SKU = 95.0
"""Percent of the queries for an article number that must find it first."""


@dataclass(frozen=True)
class Query:
    """A query and the ids of the products that answer it."""

    kind: str
    text: str
    wanted: frozenset[str]


def main() -> int:
    """Measure, write ``benchmarks/results/hybrid_search.json`` and ``.md``, and return 1 if a requirement fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep the served shops here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        found = {shop: measure_shop(shop, folder) for shop in ("eshop", "spree", "demo")}
    rows = [row | {"shop": shop} for shop, rows in found.items() for row in rows]
    failures = find_failures(rows)
    result = {"rows": summarise(rows), "failures": failures, "machine": platform.platform()}
    RESULTS.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    RESULTS.with_suffix(".md").write_text(write_report(result))
    print(write_report(result))
    return 1 if failures else 0


def serve_shop(shop: str, folder: Path) -> Settings:
    """Return settings of a shop that a nightly run has served; a shop that is there already is used again."""
    lake, milvus = folder / f"lake-{shop}", folder / f"{shop}.db"
    settings = Settings(_env_file=None, lake=str(lake), milvus=str(milvus))
    if milvus.exists():
        return settings
    moon = [sys.executable, "-m", "jobs.cli"]
    if shop == "demo":
        subprocess.run(
            [*moon, "demo-catalog", "--out", str(folder / "demo"), "--products", str(DEMO_PRODUCTS), "--days", "1",
             "--seed", str(SEED), "--start", DATE], check=True, cwd=REPOSITORY,
        )  # fmt: skip
    catalog, mapping = {
        "eshop": (DATA / "eshop/catalog.json", REPOSITORY / "mappings/eshop.toml"),
        "spree": (folder / "spree/products.csv", folder / "spree/mapping.toml"),
        "demo": (folder / "demo" / DATE / "catalog.jsonl", folder / "demo/mapping.toml"),
    }[shop]
    if shop == "spree":
        write_spree(catalog)
        subprocess.run([*moon, "check-source", "--catalog", str(catalog), "--out", str(mapping)], check=True)
    subprocess.run(
        [*moon, "nightly", "--catalog", str(catalog), "--mapping", str(mapping), "--date", DATE, "--lake", str(lake),
         "--milvus", str(milvus)], check=True, cwd=REPOSITORY,
    )  # fmt: skip
    return settings


def write_spree(path: Path) -> None:
    """Write Spree's export with paths of its photos instead of addresses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (DATA / "spree/products.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["image1_src"] = (
            str(DATA / "spree/images" / row["image1_src"].rsplit("/", 1)[-1]) if row["image1_src"] else ""
        )
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def measure_shop(shop: str, folder: Path) -> list[dict[str, Any]]:
    """Return a row for each query: its kind and, of each way, whether the first hit is wanted, and the share of K."""
    settings = serve_shop(shop, folder)
    products = open_lake(settings).read_arrow("products", {"date": DATE}).to_pylist()
    rows = []
    with connect_reader(settings) as client:
        collection = read_alias_target(client, settings.alias) or ""
        load_collection(client, collection)
        encoder = MoonEncoder.for_collection(client, settings.alias)
        served = {hit[ID_FIELD] for hit in client.query(collection, filter="", output_fields=[ID_FIELD], limit=16_000)}
        queries = list(make_queries(shop, [row for row in products if row["product_id"] in served]))
        vectors = encoder.encode_queries(texts=[query.text for query in queries])
        for query, vector in zip(queries, vectors, strict=True):
            row: dict[str, Any] = {"kind": query.kind, "text": query.text}
            for way in WAYS:
                found = ask(client, collection, way, query.text, vector)
                row[way] = (float(found[0] in query.wanted), share_wanted(found, query.wanted))
            rows.append(row)
    return rows


def ask(client: Any, collection: str, way: str, text: str, vector: Any) -> list[str]:
    """Return the ids of the first K hits in one of the `WAYS`."""
    nearest: Callable[..., Any] = partial(search_nearest, client, collection, vector)
    if way == "milvus":
        return search_by_milvus(client, collection, text, vector)
    hits = nearest(K) if way == "dense" else HybridSearch(client, collection, text, nearest)(K)
    return [hit[ID_FIELD] for hit in hits]


def search_by_milvus(client: Any, collection: str, text: str, vector: Any) -> list[str]:
    """Return the ids of the first K hits of Milvus's hybrid search."""
    from pymilvus import AnnSearchRequest, RRFRanker  # noqa: PLC0415  (a second to import)

    parts = [
        AnnSearchRequest([vector], VECTOR_FIELD, {"metric_type": METRIC}, 100),
        AnnSearchRequest([text], SPARSE_FIELD, {"metric_type": SPARSE_METRIC}, 100),
    ]
    hits = client.hybrid_search(collection, parts, RRFRanker(RANK_CONSTANT), limit=K, output_fields=[ID_FIELD])[0]
    return [hit["entity"][ID_FIELD] for hit in hits]


def share_wanted(found: list[str], wanted: frozenset[str]) -> float:
    """Return the share of the first K hits that are wanted, of as many as there can be."""
    return sum(name in wanted for name in found[:K]) / min(K, len(wanted))


def make_queries(shop: str, products: list[dict[str, Any]]) -> Iterator[Query]:
    """Yield the queries of a shop: every article number, every name, every pair of brand and size, the vague ones."""
    facts = {row["product_id"]: read_facts(shop, row) for row in products}

    def select(**values: str) -> frozenset[str]:
        return frozenset(
            name
            for name, known in facts.items()
            if all(re.search(value, known[key], re.I) if key == "words" else known.get(key) == value
                   for key, value in values.items())
        )  # fmt: skip

    for name in facts:
        yield Query("sku", name, frozenset({name}))
    for title in sorted({known["title"] for known in facts.values()}):
        yield Query("name", title, select(title=title))
    for brand, size in sorted({(known["brand"], known["size"]) for known in facts.values()}):
        if brand and size:
            yield Query("brand_size", f"{brand} {size}", select(brand=brand, size=size))
    with (Path(__file__).parent / "vague_queries.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            values = dict(part.split("=", 1) for part in row["wanted"].replace("title=", "words=").split())
            if row["shop"] == shop and (wanted := select(**values)):
                yield Query("vague", row["query"], wanted)


def read_facts(shop: str, row: dict[str, Any]) -> dict[str, str]:
    """Return what queries name of a product."""
    attributes = {key.lower(): value for key, value in row["attributes"]}
    facts = {"title": row["title"], "words": row["title"], "category": (row["category"] or [""])[-1]}
    facts |= {"brand": attributes.get("brand", ""), "size": attributes.get("size", "")}
    if shop == "demo":
        product = DemoWorld(SEED).get_product(int(row["product_id"].rsplit("-", 1)[-1]))
        facts |= {"type": product.type, "colour": product.colour, "pattern": product.pattern}
    return facts


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each shop (and all of them) and kind the means of each way, and the gains with 95% intervals."""
    lines = []
    for shop in (*dict.fromkeys(row["shop"] for row in rows), "all"):
        for kind in KINDS:
            chosen = [row for row in rows if row["kind"] == kind and shop in (row["shop"], "all")]
            if not chosen:
                continue
            line: dict[str, Any] = {"shop": shop, "kind": kind, "queries": len(chosen)}
            for place, name in enumerate(("first", "share")):
                values = {way: 100 * np.array([row[way][place] for row in chosen]) for way in WAYS}
                gain = bootstrap_mean(values["hybrid"] - values["dense"], seed=0)
                line[name] = {way: float(of_way.mean()) for way, of_way in values.items()}
                line[name]["gain"] = [gain.mean, gain.low, gain.high]
            lines.append(line)
    return lines


def find_failures(rows: list[dict[str, Any]]) -> list[str]:
    """Return the requirements that are not met."""
    lines = {line["kind"]: line["first"] for line in summarise(rows) if line["shop"] == "all"}
    failures = [
        f"{kind}: {lines[kind]['gain'][0]:+.1f} points"
        for kind, least in MIN_GAIN.items()
        if lines[kind]["gain"][0] < least
    ]
    return failures + ([f"sku: {lines['sku']['hybrid']:.1f}%"] if lines["sku"]["hybrid"] < MIN_SKU else [])


def write_report(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    text = [
        "# Hybrid search", "",
        f"`python -m benchmarks.hybrid_search` on {result['machine']}, Milvus Lite. In percent: the first hit is",
        "wanted, and the share of the first 10 hits that are wanted (of as many as there can be). Gain: of hybrid",
        "over vectors alone, in points, with its 95% bootstrap interval over the queries.", "",
        "| shop | queries | number | vectors | Milvus RRF | hybrid | gain, first hit | gain, first 10 |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for line in result["rows"]:
        cells = [f"{line['first'][way]:.1f} / {line['share'][way]:.1f}" for way in WAYS]
        gains = ["{:+.1f} ({:+.1f} to {:+.1f})".format(*line[name]["gain"]) for name in ("first", "share")]
        text.append("| " + " | ".join([line["shop"], line["kind"], str(line["queries"]), *cells, *gains]) + " |")
    return "\n".join([*text, "", "Not met: " + ("; ".join(result["failures"]) or "nothing") + ".", ""])


if __name__ == "__main__":
    sys.exit(main())
