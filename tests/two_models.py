"""Two versions of one tiny model, and a collection of each with the same products, as services see them."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pymilvus import MilvusClient

from jobs.milvus.capabilities import find_tier
from jobs.milvus.lite import run_lite_server
from moon_model.encoder import MoonEncoder
from schemas.collection import (
    BM25,
    COLLECTION_SCHEMA_VERSION,
    PROPERTY_CHECKPOINT,
    PROPERTY_FEATURES,
    PROPERTY_MODEL,
    PROPERTY_SCHEMA,
    SEARCH_TEXT_FIELD,
    SPARSE_FIELD,
    SPARSE_INDEX,
    SPARSE_METRIC,
    VECTOR_FIELD,
    build_collection_schema,
    collection_name,
    select_field_features,
)
from tests.jobs.tiny_model import write_tiny_checkpoint
from tests.milvus_rows import make_row, serve_rows

TITLES = {
    "mug": "blue mug", "boot": "red hiking boot", "boot-42": "red hiking boot 42", "boot-43": "red hiking boot 43",
    'odd "id"/ü😀': "<script>alert(1)</script>", "lamp": "brass lamp",
    **{f"s{number:02}": f"running shoe {number}" for number in range(14)},
}  # fmt: skip
GROUPS = {"boot-42": "boot", "boot-43": "boot"}


@dataclass(frozen=True)
class TwoModels:
    """A Milvus with a collection of each model; the alias ``products`` names the first.

    Attributes:
        uri: of the Milvus.
        client: client of the Milvus.
        folder: folder of this test.
        checkpoints, encoders, names: checkpoint, encoder and collection of each model.
    """

    uri: str
    client: MilvusClient
    folder: Path
    checkpoints: tuple[Path, Path]
    encoders: tuple[MoonEncoder, MoonEncoder]
    names: tuple[str, str]


@contextmanager
def serve_two_models(folder: Path, server: str = "") -> Iterator[TwoModels]:
    """Yield both collections in the Milvus of a URI, else in a Milvus Lite in the folder."""
    checkpoints = (folder / "old", folder / "new")
    write_tiny_checkpoint(checkpoints[0])
    shutil.copytree(*checkpoints)
    processing = checkpoints[1] / "processor_config.json"
    processing.write_text(processing.read_text().replace('"lowercase": true', '"lowercase": false'))
    old, new = (MoonEncoder.from_pretrained(path, threads=1) for path in checkpoints)
    with ExitStack() as stack:
        uri = server or stack.enter_context(run_lite_server(str(folder / "milvus.db"), 0))
        client = MilvusClient(uri, dedicated=True)
        names = (fill(client, old, checkpoints[0]), fill(client, new, checkpoints[1]))
        client.create_alias(names[0], "products")
        yield TwoModels(uri, client, folder, checkpoints, (old, new), names)
        for alias in client.list_aliases()["aliases"]:
            client.drop_alias(alias)
        for name in client.list_collections():
            client.drop_collection(name)
        client.close()


def fill(client: MilvusClient, encoder: MoonEncoder, checkpoint: Path) -> str:
    """Make a model's collection with its pinned alias; return its name."""
    name = collection_name(encoder.model_version)
    features = select_field_features(COLLECTION_SCHEMA_VERSION, find_tier(client).features)
    params = client.prepare_index_params()
    params.add_index(VECTOR_FIELD, index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 100})
    if BM25 in features:
        params.add_index(SPARSE_FIELD, index_type=SPARSE_INDEX, metric_type=SPARSE_METRIC)
    properties = {
        PROPERTY_MODEL: encoder.model_version,
        PROPERTY_CHECKPOINT: str(checkpoint),
        PROPERTY_SCHEMA: str(COLLECTION_SCHEMA_VERSION),
        PROPERTY_FEATURES: ",".join(features),
    }
    schema = build_collection_schema(encoder.dim, features=features)
    client.create_collection(
        name, schema=schema, index_params=params, properties=properties, consistency_level="Strong"
    )
    rows = [
        make_row(
            product_id=key,
            title=title,
            brand='A "b" ü' if "mug" in title else "Nordlys",
            group_id=GROUPS.get(key, key),
            snapshot_date="2026-11-20",
            model_version=encoder.model_version,
            payload={"price": len(title)},
            **({SEARCH_TEXT_FIELD: f"{title}\nNordlys\nsize {len(title)}\n{key}"} if BM25 in features else {}),
            **{VECTOR_FIELD: vector},
        )
        for (key, title), vector in zip(
            TITLES.items(), encoder.encode_queries(texts=list(TITLES.values())), strict=True
        )
    ]
    serve_rows(client, name, rows, encoder.model_version)
    return name
