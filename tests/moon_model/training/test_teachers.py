"""Teachers: the loss is zero where neighbourhoods agree, and a run without purchases learns them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from moon_model.training.config import ConfigError, ModelSection, TrainingConfig
from moon_model.training.feature_cache import FeatureCache
from moon_model.training.learner import Learner
from moon_model.training.metric_log import read_curve
from moon_model.training.run import train
from moon_model.training.teachers import RUN, Corpora, ImageNeighbours, build_teachers, draw, neighbour_loss

WORDS = ("red mug", "blue mug", "red bowl", "blue bowl", "green lamp", "white lamp", "green vase", "white vase")


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def test_equal_neighbourhoods_cost_nothing_whatever_the_rotation() -> None:
    teacher = unit(9, 5)
    rotation = torch.linalg.qr(unit(5, 5, seed=1)).Q
    assert neighbour_loss(teacher @ rotation, teacher, 0.1).item() == pytest.approx(0, abs=1e-12)
    assert neighbour_loss(unit(9, 7, seed=2), teacher, 0.1) > 0.1


def test_the_loss_is_the_mean_divergence_and_has_a_gradient() -> None:
    student, teacher = unit(4, 3).requires_grad_(), unit(4, 6, seed=1)
    wanted = []
    for row in range(4):
        others = [index for index in range(4) if index != row]
        p = (teacher[others] @ teacher[row] / 0.2).softmax(0)
        q = (student[others] @ student[row] / 0.2).softmax(0)
        wanted.append((p * (p / q).log()).sum())
    found = neighbour_loss(student, teacher, 0.2)
    assert found.item() == pytest.approx(torch.stack(wanted).mean().item())
    found.backward()
    assert torch.isfinite(student.grad).all()


@given(total=st.integers(1, 60), count=st.integers(1, 60), seed=st.integers(0, 5))
def test_rows_are_drawn_once_and_in_runs(total: int, count: int, seed: int) -> None:
    rows = draw(total, min(count, total), np.random.default_rng(seed))
    assert len(rows) == len(set(rows.tolist())) == min(count, total)
    assert set(rows.tolist()) <= set(range(total))
    first = rows[: RUN if rows[0] + RUN <= total else 1]
    assert (np.diff(first) == 1).all()


def word_vectors() -> np.ndarray:
    """A teacher of texts to whom two that share a word are neighbours."""
    known = sorted({part for word in WORDS for part in word.split()})
    return np.array([[part in word.split() for part in known] for word in WORDS], dtype=np.float16) / np.sqrt(2)


def write_corpora(folder: Path, shop: Path) -> Path:
    folder.mkdir()
    (folder / "texts.txt").write_text("\n".join(WORDS))
    np.save(folder / "texts.npy", word_vectors().astype(np.float16))
    photos = [
        {"identity": number, "image": path.name, "region": [0.1, 0.1, 0.9, 0.9] if number % 2 else None}
        for number, path in enumerate(sorted((shop / "images").iterdir())[:8])
    ]
    (folder / "photos.jsonl").write_text("\n".join(json.dumps(one) for one in photos))
    aligned = [{**one, "texts": [word, f"a {word}"]} for one, word in zip(photos, WORDS, strict=True)]
    (folder / "aligned.jsonl").write_text("\n".join(json.dumps(one) for one in aligned))
    (folder / "about.json").write_text(json.dumps({"image_roots": [str(shop / "images")]}))
    return folder


def config(shop: Path, corpora: Path, out: Path, **teachers: object) -> TrainingConfig:
    return TrainingConfig.model_validate({
        "model": {"path": str(shop / "model"), "frozen": ["backbone.vision"], "cache": out / "features"},
        "teachers": {"corpora": corpora, "texts": 8, "images": 8, "aligned": 8, "temperature": 0.2, **teachers},
        "optimiser": {"learning_rate": 2e-3}, "run": {"out": out, "steps": 40, "chunk": 16},
    })  # fmt: skip


def test_a_run_without_purchases_learns_texts_and_their_photos(shop: Path, tmp_path: Path) -> None:
    assert train(config(shop, write_corpora(tmp_path / "corpora", shop), tmp_path / "out")) is not None
    lines = read_curve(tmp_path / "out" / "metrics.jsonl")
    assert np.isfinite([line["image_neighbours/loss"] for line in lines]).all()  # a random tower teaches nothing
    for name in ("text_neighbours", "alignment"):
        losses = [line[f"{name}/loss"] for line in lines]
        assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:3]), name


def test_corpora_that_do_not_fit_are_explained(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no corpora .* `python -m moon_model.training.corpora"):
        Corpora.read(tmp_path / "none")
    corpora = write_corpora(tmp_path / "corpora", shop)
    with pytest.raises(ConfigError, match=r"teachers\.texts is 9, but the corpora hold 8"):
        train(config(shop, corpora, tmp_path / "a", texts=9))
    (corpora / "texts.txt").write_text("one")
    with pytest.raises(ConfigError, match="has 1 texts, but 8 vectors"):
        Corpora.read(corpora)


def test_photos_need_the_tower_as_teacher(shop: Path, tmp_path: Path) -> None:
    corpora = write_corpora(tmp_path / "corpora", shop)
    changed = config(shop, corpora, tmp_path / "out")
    changed = changed.model_copy(update={"model": changed.model.model_copy(update={"cache": None})})
    with pytest.raises(ConfigError, match=r"teachers.images needs .* set model.cache"):
        train(changed)


def test_photos_are_held_to_the_tower_alone(shop: Path, tmp_path: Path) -> None:
    """The original view counts, not the crop behind it; the teacher is the mean of its grid."""
    corpora = write_corpora(tmp_path / "corpora", shop)
    settings = config(shop, corpora, tmp_path / "out").teachers
    assert settings is not None
    learner = Learner.load(ModelSection(path=str(shop / "model"), frozen=["backbone.vision"]))
    cache = FeatureCache(learner.model, learner.processor)
    images = next(one for one in build_teachers(settings, learner, cache, seed=1) if isinstance(one, ImageNeighbours))
    work = images.work(5)
    assert [len(one.views) for one in work.prepared].count(2) == 4
    with torch.no_grad():
        pixels = learner.processor.views.collate([one.views[0] for one in work.prepared])["pixel_values"]
        teacher = F.normalize(learner.model.backbone.vision(pixels).mean((2, 3)), dim=-1)
    student = unit(8, 32, seed=3).float()
    wanted = neighbour_loss(student, teacher, settings.temperature)
    assert work.loss(student)[0].item() == pytest.approx(wanted.item(), abs=1e-4)
    assert [one.id for one in images.work(5).prepared] == [one.id for one in work.prepared]
    assert len({tuple(one.id for one in images.work(step).prepared) for step in range(12)}) > 1
