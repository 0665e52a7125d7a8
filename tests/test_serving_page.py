"""docs/serving.md: runs its Python blocks on a small collection of real vectors, during a change of the model."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.milvus.lite import run_lite_server
from moon_model.encoder import MoonEncoder
from schemas.collection import (
    METRIC,
    PROPERTIES,
    VECTOR_FIELD,
    build_collection_schema,
    collection_name,
)
from tests.milvus_rows import make_row, serve_rows

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = REPOSITORY / "checkpoints" / "moon-tiny"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (REPOSITORY / "docs/serving.md").read_text(), re.MULTILINE | re.DOTALL)
MUG, BLUE_MUG = "demo-7-000114", "demo-7-000115"
TITLES = {
    MUG: "red mug", BLUE_MUG: "blue mug", "4713": "red cup", "4714": "tea pot", 'odd "id"': "brass lamp",
    **{f"s{number}": f"running shoe {number}" for number in range(8)},
}  # fmt: skip


@pytest.fixture(params=["lite", pytest.param("server", marks=[pytest.mark.milvus_server, pytest.mark.long])])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "server":
        yield request.getfixturevalue("milvus_server")
        return
    with run_lite_server(str(tmp_path / "milvus.db"), 0) as uri:
        yield uri


def fill(client: Any, encoder: MoonEncoder, folder: Path) -> str:
    """Make a model's collection of the products, with its pinned alias."""
    name = collection_name(encoder.model_version)
    params = client.prepare_index_params()
    params.add_index(VECTOR_FIELD, index_type="FLAT", metric_type=METRIC)
    values = (encoder.model_version, str(encoder.dim), "0" * 64, str(folder))
    client.create_collection(
        name,
        schema=build_collection_schema(encoder.dim),
        index_params=params,
        properties=dict(zip(PROPERTIES, values, strict=True)),
        consistency_level="Strong",
    )
    rows = [
        {
            **make_row(payload=PAYLOADS.get(key, {})),
            "product_id": key,
            "group_id": MUG if key == BLUE_MUG else key,
            "title": title,
            "brand": "Volt9",
            "category": "Home/Kitchen/Mugs" if "mug" in title else "Other",
            "category_1": "Home" if "mug" in title else "Other",
            "snapshot_date": "2026-03-02",
            "model_version": encoder.model_version,
            "epoch": 1,
            VECTOR_FIELD: vector,
        }
        for (key, title), vector in zip(
            TITLES.items(), encoder.encode_queries(texts=list(TITLES.values())), strict=True
        )
    ]
    serve_rows(client, name, rows, encoder.model_version)
    return name


PAYLOADS = {
    MUG: {"price": 15.5, "in_stock": True, "unit": '5" or "13 cm"'},
    BLUE_MUG: {"price": 9, "in_stock": False},
}


def ids(hits: list[tuple[float, dict[str, Any]]]) -> list[str]:
    return [product["product_id"] for _, product in hits]


def test_the_page_works_as_written(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymilvus import MilvusClient

    following = copytree(TINY, tmp_path / "next")
    processing = json.loads((following / "processor_config.json").read_text())
    (following / "processor_config.json").write_text(
        json.dumps({**processing, "lowercase": not processing["lowercase"]})
    )
    images = tmp_path / "var/demo/catalog/images"
    images.mkdir(parents=True)
    Image.fromarray(np.full((64, 64, 3), (180, 20, 30), np.uint8)).save(images / "demo-7-000114-0-r0.jpg")
    admin = MilvusClient(uri, dedicated=True)
    old, new = (MoonEncoder.from_pretrained(folder, threads=1) for folder in (TINY, following))
    first = fill(admin, old, TINY)
    admin.create_alias(first, "products")
    monkeypatch.setenv("MOON_MILVUS", uri)
    monkeypatch.chdir(tmp_path)

    page: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/serving.md", "exec"), page)  # noqa: S102  (our own page)
    try:
        check_answers(page, first)
        check_switch(page, admin, fill(admin, new, following), new)
    finally:
        page["client"].close()
        for alias in admin.list_aliases()["aliases"]:
            admin.drop_alias(alias)
        for name in admin.list_collections():
            admin.drop_collection(name)
        admin.close()


def check_answers(page: dict[str, Any], collection: str) -> None:
    assert page["collection"] == collection
    assert len(page["similar"](MUG, k=3)) == 3 and MUG not in ids(page["similar"](MUG, k=20))
    assert page["similar"]('odd "id"', k=1) != [] and page["similar"]("gone") == []
    score, best = page["by_text"][0]
    assert best["product_id"] == MUG and score == pytest.approx(1, abs=1e-3)
    assert len(page["by_photo"]) == len(page["by_both"]) == 10
    assert set(ids(page["mugs"])) == set(ids(page["fresh"])) == set(ids(page["variants"])) == {MUG, BLUE_MUG}
    assert (ids(page["cheap"]), ids(page["by_unit"])) == ([MUG], [MUG])
    assert len(page["distinct"]) == 5 and len(set(ids(page["distinct"])) & {MUG, BLUE_MUG}) == 1
    pages = [hit["entity"]["product_id"] for hit in [*page["first"], *page["second"]]]
    assert pages == ids(page["search"]("red mug", k=6))
    assert len(page["walked"]) == 10 and page["walked"][0] == MUG and len(set(page["walked"])) == 10
    assert ids(page["answers"])[0] == MUG
    assert page["since"] == len(TITLES)


def check_switch(page: dict[str, Any], admin: Any, collection: str, encoder: MoonEncoder) -> None:
    """Move the alias of a running service: each result is correct, and soon all are of the new model."""
    served, answer = page["served"], page["answer"]
    before, _ = served.choose()
    admin.alter_alias(collection, "products")
    until, answers = time.monotonic() + 60, 0
    while served.choose()[0] is before and time.monotonic() < until:
        assert ids(answer("red mug"))[0] == MUG
        answers += 1
    assert answers >= 1
    assert ids(answer("red mug"))[0] == MUG
    after, name = served.choose()
    assert (after.model_version, name) == (encoder.model_version, collection)
