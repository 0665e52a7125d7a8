"""Tests of search with a real (tiny) model: by text, photo and both, through the alias, never with another encoder."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jobs.images.query_photo import QueryPhotoError
from jobs.milvus.client import NoDatabaseError, connect
from jobs.serving.search import (
    CollectionEncoderError,
    NothingPublishedError,
    QueryError,
    search_products,
)
from jobs.settings import Settings
from moon_model.encoder import MoonEncoder
from schemas.collection import (
    PROPERTY_CHECKPOINT,
    PROPERTY_MODEL,
    PROPERTY_SCHEMA,
    VECTOR_FIELD,
    build_collection_schema,
)
from tests.jobs.serving.test_row_writer import entity

TITLES = {"mug": "blue mug", "boot": "red hiking boot", "lamp": "brass lamp"}


@pytest.fixture(scope="module")
def encoder(tiny_checkpoint: Path) -> MoonEncoder:
    return MoonEncoder.from_pretrained(tiny_checkpoint)


@pytest.fixture
def served(
    milvus: str, make_settings: Callable[..., Settings], encoder: MoonEncoder, tiny_checkpoint: Path, photo
) -> Settings:
    """A served collection with three products encoded from their titles and one from its photo."""
    settings = make_settings(milvus=milvus)
    vectors = [*encoder.encode_queries(texts=list(TITLES.values())), *encoder.encode_queries(images=[photo(3)])]
    rows = [
        {
            **entity(name, title=title, category=f"Home/{name}", category_1="Home", brand=f'"{name}"'),
            VECTOR_FIELD: vector,
        }
        for (name, title), vector in zip([*TITLES.items(), ("square", "a square")], vectors, strict=True)
    ]
    properties = {PROPERTY_MODEL: encoder.model_version, PROPERTY_CHECKPOINT: str(tiny_checkpoint)}
    with connect(settings) as client:
        params = client.prepare_index_params()
        params.add_index(VECTOR_FIELD, index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 100})
        schema = build_collection_schema(encoder.dim)
        client.create_collection(
            "moon_c", schema=schema, index_params=params, properties=properties, consistency_level="Strong"
        )
        client.upsert("moon_c", rows)
        client.flush("moon_c")
        client.create_alias("moon_c", "products")
    return settings


def test_by_words_by_photo_and_by_both(served: Settings, encoder: MoonEncoder, photo, tmp_path: Path) -> None:
    hits = search_products(served, text="red hiking boot", k=2, encoder=encoder)
    assert [hit["product_id"] for hit in hits][:1] == ["boot"] and len(hits) == 2
    assert hits[0].keys() == {"product_id", "score", "title", "category", "brand", "snapshot_date"}
    assert hits[0]["score"] == pytest.approx(1, abs=1e-3) and hits[0]["score"] > hits[1]["score"]
    assert (hits[0]["title"], hits[0]["category"]) == ("red hiking boot", "Home/boot")

    picture = tmp_path / "photo.jpg"
    picture.write_bytes(photo(3))
    assert search_products(served, image=picture, k=1, encoder=encoder)[0]["product_id"] == "square"
    both = search_products(served, text="brass lamp", image=picture, encoder=encoder)
    assert {hit["product_id"] for hit in both} == {*TITLES, "square"}
    assert max(hit["score"] for hit in both) < 0.9999, "neither the words nor the photo alone"


def test_filters(served: Settings, encoder: MoonEncoder) -> None:
    def found(expression: str) -> set[str]:
        return {
            hit["product_id"] for hit in search_products(served, text="mug", expression=expression, encoder=encoder)
        }

    assert found('category_1 == "Home" and category like "Home/%"') == {*TITLES, "square"}
    assert found('brand in ["\\"mug\\"", "other"]') == {"mug"}
    assert found('category_1 == "Garden"') == set()
    with pytest.raises(QueryError, match=r"does not understand the filter 'colour = red'.*Fields: product_id, title"):
        found("colour = red")
    with pytest.raises(QueryError, match="does not understand") as caught:
        found("(" * 300 + "colour = 1" + ")" * 300)
    assert len(str(caught.value)) < 1000


def test_the_collection_names_its_encoder(served: Settings, tiny_checkpoint: Path) -> None:
    assert search_products(served, text="blue mug", k=1)[0]["product_id"] == "mug", "loaded from the properties"
    with connect(served) as client:
        client.alter_collection_properties("moon_c", {PROPERTY_CHECKPOINT: str(tiny_checkpoint / "gone")})
    with pytest.raises(CollectionEncoderError, match=r"not here .*gone.*MOON_MODEL"):
        search_products(served, text="blue mug")
    assert search_products(served.replace(model=str(tiny_checkpoint)), text="blue mug", k=1)[0]["product_id"] == "mug"


def test_a_collection_that_has_groups_tells_them(served: Settings, encoder: MoonEncoder) -> None:
    with connect(served) as client:
        client.alter_collection_properties("moon_c", {PROPERTY_SCHEMA: "2"})
        client.upsert(
            "moon_c",
            {
                **entity("boot-42", title="red hiking boot", group_id="boot"),
                VECTOR_FIELD: [0.6, 0.8] + [0.0] * (encoder.dim - 2),
            },
        )
    (hit,) = search_products(served, text="boot", expression='group_id == "boot"', encoder=encoder)
    assert (hit["product_id"], hit["group_id"]) == ("boot-42", "boot")


def test_a_foreign_encoder_is_refused(served: Settings, encoder: MoonEncoder) -> None:
    foreign = SimpleNamespace(model_version="b" * 64, encode_queries=lambda **_: np.eye(1))
    with pytest.raises(
        CollectionEncoderError, match=rf"serves model {encoder.model_version[:12]}, this encoder is b{{12}}"
    ):
        search_products(served, text="blue mug", encoder=foreign)


def test_what_cannot_be_asked(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    settings = make_settings()
    for wrong, message in [
        ({"text": "  "}, "say what to look for"),
        ({}, "say what to look for"),
        ({"text": "x", "k": 0}, "between 1 and 16,384"),
    ]:
        with pytest.raises(QueryError, match=message):
            search_products(settings, **wrong)
    with pytest.raises(NoDatabaseError, match=r"no Milvus Lite database at .*moon nightly"):
        search_products(settings, text="x")
    with connect(settings) as client:
        assert client.list_collections() == []
    with pytest.raises(NothingPublishedError, match=r"no alias 'products' .*none at all.*moon nightly"):
        search_products(settings, text="x")
    with connect(settings) as client:
        client.create_collection("foreign", dimension=4)
        client.create_alias("foreign", "products")
    with pytest.raises(NothingPublishedError, match="not a collection of ours"):
        search_products(settings, text="x")


def test_a_photo_that_is_none(served: Settings, encoder: MoonEncoder, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no photo")
    for words in (None, "blue mug"):
        with pytest.raises(QueryPhotoError, match=r"cannot be encoded.*image_"):
            search_products(served, text=words, image=tmp_path / "text.jpg", encoder=encoder)
