"""Tests from a purchase log to training pairs: every purchase is counted, and the trainer reads the pairs."""

import json
from collections import Counter

import pytest

from jobs.datasets.make_pairs import PairOptions, write_training_pairs
from jobs.datasets.purchases import PurchaseLog
from jobs.errors import MoonError
from moon_model.training.pairs import Manifest
from moon_model.training.reader_arrow import ArrowPairs

CATALOGUE = {name: [f"{name}.jpg"] for name in "abcdef"} | {"g": ["a.jpg", "missing.jpg"]}


@pytest.fixture
def context(planned_night, photo, tmp_path):
    context, _ = planned_night(CATALOGUE)
    for name in "abcdefq":
        (tmp_path / "images" / f"{name}.jpg").write_bytes(photo(ord(name)))
    return context


@pytest.fixture
def log(tmp_path):
    """34 purchases by photo, by text, by both; two of unknown products, one whose photo is gone."""
    folder = tmp_path / "images"
    rows = [{"product_id": "abcdefg"[number % 7], "query_image": "q.jpg"} for number in range(24)]
    rows += [{"product_id": "abcdefg"[number % 7], "query": f"words {number}"} for number in range(6)]
    rows += [{"product_id": "a", "query": "a red one", "query_image": "q.jpg"} for _ in range(4)]
    rows += [{"product_id": "unknown", "query": "x"}] * 2 + [{"product_id": "a", "query_image": "gone.jpg"}]
    lines = (json.dumps({**row, "time": f"2026-01-01T00:{number:02}"}) for number, row in enumerate(rows))
    (folder / "log.jsonl").write_text("\n".join(lines))
    families = {"a": "twins", "b": "twins", "d": "c"}  # the second is named by its main product
    lines = (json.dumps({"product_id": name, "family": family}) for name, family in families.items())
    (folder / "variants.jsonl").write_text("\n".join(lines))
    return PurchaseLog(folder / "log.jsonl", folder / "variants.jsonl")


def read(folder):
    reader = ArrowPairs(folder, batch_size=2, seed=0)
    return [pair for batch in reader.iter_epoch(0) for pair in batch]


@pytest.mark.long
def test_every_purchase_is_counted_and_the_trainer_reads_the_pairs(context, log, tmp_path):
    options = PairOptions(rows_per_group=2, seed=1)
    found = write_training_pairs(context, log, tmp_path / "pairs", options)
    assert (found.purchases, found.unknown, found.unusable, found.thinned) == (37, 2, 1, 0)
    assert found.pairs == 34
    assert found.kinds == {"image": 24, "text": 6, "both": 4}

    pairs = read(tmp_path / "pairs")
    assert len(pairs) == 34
    ids = {pair.item.product.id: pair.item.identity for pair in pairs}
    assert ids["a"] == ids["b"]
    assert ids["c"] == ids["d"]
    assert len(set(ids.values())) == 5
    for pair in pairs:
        assert (bool(pair.query.product.images), bool(pair.query.product.title)) == {
            "image": (True, False), "text": (False, True), "both": (True, True),
        }[pair.kind]  # fmt: skip
        assert len(pair.negatives) == 2
        assert pair.item.identity not in {other.identity for other in pair.negatives}
        assert len({other.identity for other in pair.negatives}) == 2
        assert len(pair.item.product.images) == 1  # the missing second image of "g" is left out


@pytest.mark.long
def test_the_same_seed_gives_the_same_pairs(context, log, tmp_path):
    texts = []
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        write_training_pairs(context, log, tmp_path / name, PairOptions(rows_per_group=2, seed=seed))
        texts.append([file.sha256 for file in Manifest.read(tmp_path / name).files])
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.long
def test_a_product_alone_in_its_category_borrows_from_the_parent(context, log, seed, tmp_path):
    rows = [
        row.asDict(recursive=True) for row in context.lake.read(context.spark, "products", context.partition).collect()
    ]
    for number, row in enumerate(rows):
        row.pop("date")
        row["attributes"] = list(row["attributes"].items())
        row["category"] = ["A", row["product_id"]] if number < 3 else ["B", "many"]
    seed(context.lake, "products", rows, context.partition, mode="overwrite")
    write_training_pairs(context, log, tmp_path / "pairs", PairOptions(rows_per_group=2, hard_negatives=9))
    shelves = Counter()
    for pair in read(tmp_path / "pairs"):
        own = pair.item.product.category[0]
        assert {other.product.category[0] for other in pair.negatives} <= {own}
        shelves[own, len(pair.negatives) > 0] += 1
    assert shelves["A", True]
    assert shelves["B", True]


def test_too_little_is_an_error_that_says_what_to_do(context, log, tmp_path):
    with pytest.raises(MoonError, match=r"fill no row group of 64 .* lower --rows-per-group"):
        write_training_pairs(context, log, tmp_path / "pairs", PairOptions())
    other = type(context)(context.spark, context.lake, context.settings, "2026-01-03")
    with pytest.raises(MoonError, match="run `moon prepare` first"):
        write_training_pairs(other, log, tmp_path / "pairs", PairOptions())
