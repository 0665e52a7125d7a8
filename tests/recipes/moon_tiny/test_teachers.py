"""Tests of distillation: a run without purchases approaches the teachers' vectors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moon_model.backbones.compact import GRID_FEATURES
from moon_model.configuration_moon import Segment
from moon_model.training.config import ConfigError, ModelSection
from moon_model.training.feature_cache import FeatureCache
from moon_model.training.metric_log import read_curve
from moon_model.training.pairs import parse_item
from moon_model.training.trainable_model import TrainableModel
from recipes.moon_tiny.config import DistillationConfig
from recipes.moon_tiny.distillation_targets import VisualBasis, build_product_targets, summarise_grids
from recipes.moon_tiny.teachers import (
    NEIGHBOUR_RUN,
    CaptionedPhoto,
    Corpora,
    PhotoDistillation,
    build_teacher_objectives,
    draw_rows,
)
from recipes.moon_tiny.train import run_distillation

WORDS = ("red mug", "blue mug", "red bowl", "blue bowl", "green lamp", "white lamp", "green vase", "white vase")


@given(total=st.integers(1, 60), count=st.integers(1, 60), seed=st.integers(0, 5))
def test_rows_are_drawn_once_and_in_runs(total: int, count: int, seed: int) -> None:
    rows = draw_rows(total, min(count, total), np.random.default_rng(seed))
    assert len(rows) == len(set(rows.tolist())) == min(count, total)
    assert set(rows.tolist()) <= set(range(total))
    first = rows[: NEIGHBOUR_RUN if rows[0] + NEIGHBOUR_RUN <= total else 1]
    assert (np.diff(first) == 1).all()


@pytest.mark.parametrize(
    ("drawn", "real", "expected"),
    [(40, 20, (4, 4)), (40, 3, (5, 3)), (2, 20, (2, 6)), (0, 20, (0, 8)), (20, 0, (8, 0))],
)
def test_half_of_the_photos_of_a_step_are_real_as_far_as_there_are(
    drawn: int, real: int, expected: tuple[int, int]
) -> None:
    vectors = np.zeros((0, 2), dtype=np.float16)
    photos = [
        CaptionedPhoto(parse_item(n, {"id": str(n)}), [], vectors, is_drawn=n < drawn) for n in range(drawn + real)
    ]
    found = Corpora([], vectors, photos, []).draw_photos(8, np.random.default_rng(0))
    assert (sum(one.is_drawn for one in found), sum(not one.is_drawn for one in found)) == expected
    assert len({one.item.identity for one in found}) == 8


def word_vectors() -> np.ndarray:
    """A text teacher for which two texts that share a word are neighbours."""
    known = sorted({part for word in WORDS for part in word.split()})
    return np.array([[part in word.split() for part in known] for word in WORDS], dtype=np.float16) / np.sqrt(2)


def write_corpora(folder: Path, shop: Path) -> Path:
    folder.mkdir()
    (folder / "texts.jsonl").write_text("\n".join(json.dumps({"title": word}) for word in WORDS))
    np.save(folder / "texts.npy", word_vectors())
    photos, said = [], []
    for number, path in enumerate(sorted((shop / "images").iterdir())[:8]):
        region = [0.1, 0.1, 0.9, 0.9] if number % 2 else None
        texts = [{"title": WORDS[number]}, {"title": f"a {WORDS[number]}", "attributes": {"size": "s"}}]
        photos.append({"identity": number, "image": path.name, "region": region, "texts": texts})
        said += [word_vectors()[number]] * 2
    (folder / "photos.jsonl").write_text("\n".join(json.dumps(one) for one in photos))
    np.save(folder / "said.npy", np.stack(said))
    draw = torch.Generator().manual_seed(0)
    VisualBasis(torch.zeros(GRID_FEATURES), torch.randn(GRID_FEATURES, 20, generator=draw)).save(folder)
    (folder / "about.json").write_text(json.dumps({"image_roots": [str(shop / "images")]}))
    return folder


def config(shop: Path, corpora: Path, out: Path, **teachers: object) -> DistillationConfig:
    return DistillationConfig.model_validate({
        "model": {"path": str(shop / "model"), "frozen": ["backbone.vision"], "cache": out / "features"},
        "teachers": {"corpora": corpora, "texts": 8, "images": 8, "aligned": 8, "temperature": 0.2, **teachers},
        "optimiser": {"learning_rate": 2e-3}, "run": {"out": out, "steps": 40, "chunk": 16},
    })  # fmt: skip


def test_a_run_without_purchases_learns_texts_and_their_photos(shop: Path, tmp_path: Path) -> None:
    corpora = write_corpora(tmp_path / "corpora", shop)
    assert run_distillation(config(shop, corpora, tmp_path / "out", anchor_weight=1.0)) is not None
    lines = read_curve(tmp_path / "out" / "metrics.jsonl")
    for name in ("text_anchors", "photo_anchors", "alignment"):
        losses = [line[f"{name}/loss"] for line in lines]
        assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:3]), name


def test_corpora_that_do_not_fit_are_explained(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no corpora .* `python -m recipes.moon_tiny.corpora"):
        Corpora.read(tmp_path / "none")
    corpora = write_corpora(tmp_path / "corpora", shop)
    with pytest.raises(ConfigError, match=r"teachers\.texts is 9, but the corpora hold 8"):
        run_distillation(config(shop, corpora, tmp_path / "a", texts=9))
    (corpora / "texts.jsonl").write_text('{"title": "one"}')
    with pytest.raises(ConfigError, match="has 1 texts, but 8 vectors"):
        Corpora.read(corpora)
    np.save(corpora / "said.npy", np.zeros((3, 6), dtype=np.float16))
    with pytest.raises(ConfigError, match=r"photos.jsonl has more captions than said.npy has vectors"):
        Corpora.read(corpora)


def test_photos_need_the_tower_as_teacher(shop: Path, tmp_path: Path) -> None:
    corpora = write_corpora(tmp_path / "corpora", shop)
    changed = config(shop, corpora, tmp_path / "out")
    changed = changed.model_copy(update={"model": changed.model.model_copy(update={"cache": None})})
    with pytest.raises(ConfigError, match=r"teachers.images needs .* set model.cache"):
        run_distillation(changed)


def test_photos_are_led_to_their_words_and_to_what_is_seen_in_all_their_views(shop: Path, tmp_path: Path) -> None:
    corpora = write_corpora(tmp_path / "corpora", shop)
    settings = config(shop, corpora, tmp_path / "out").teachers
    trainable = TrainableModel.load(ModelSection(path=str(shop / "model"), frozen=["backbone.vision"]))
    cache = FeatureCache(trainable.model, trainable.processor)
    photos = next(
        one
        for one in build_teacher_objectives(settings, trainable, cache, seed=1)
        if isinstance(one, PhotoDistillation)
    )
    work = photos.prepare_step(5)
    assert [len(one.views) for one in work.prepared].count(2) == 4
    wordless = [set(one.segment_ids.tolist()) <= {Segment.NONE, Segment.IMAGE, Segment.CROP} for one in work.prepared]
    assert 0 < sum(wordless) < 8
    words = work.loss.args[1]
    seen = VisualBasis.read(corpora).project(
        torch.stack([summarise_grids(cache.get_features(one.views)) for one in work.prepared])
    )
    assert work.loss(build_product_targets(words, seen, 32))[0].item() == pytest.approx(0, abs=1e-5)
    known = Corpora.read(corpora)
    own = {one.item.product.id: torch.from_numpy(one.caption_vectors[0]).float() for one in known.photos}
    strange = [not torch.equal(vector, own[one.id]) for one, vector in zip(work.prepared, words, strict=True)]
    assert 0 < sum(strange) < 8
    assert not any(one for one, bare in zip(strange, wordless, strict=True) if bare)  # no words: one's own are guessed
    assert [one.id for one in photos.prepare_step(5).prepared] == [one.id for one in work.prepared]
    assert len({tuple(one.id for one in photos.prepare_step(step).prepared) for step in range(12)}) > 1
