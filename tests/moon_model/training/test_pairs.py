"""Tests of pairs and manifests: messages about damaged ones, and equal shares of an epoch for all ranks."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moon_model.training.pairs import Manifest, PairDataError, RankShare, mix_batches, parse_pair
from tests.moon_model.training.pair_files import row, write_pairs


def manifest(groups: int, per_group: int) -> Manifest:
    rows = groups * per_group
    file = {"path": "a.parquet", "rows": rows, "sha256": "0" * 64}
    return Manifest.model_validate(
        {
            "rows": rows,
            "row_groups": groups,
            "rows_per_group": per_group,
            "files": [file],
            "kinds": {"text": rows},
            "seed": 0,
        }
    )


def test_a_row_becomes_a_pair_with_regions() -> None:
    product = {"id": "p", "images": ["a.jpg", "b.jpg"], "regions": [[0.1, 0.2, 0.9, 1], None]}
    pair = parse_pair({**row(4), "item": json.dumps(product)})
    assert pair.item.regions == ((0.1, 0.2, 0.9, 1.0), None)
    assert pair.item.product.images == ("a.jpg", "b.jpg")
    assert (pair.kind, pair.item.identity, pair.query.identity) == ("text", 2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "video"}, "kind is one of image, text, both"),
        ({"item": "{"}, "JSONDecodeError"),
        ({"item": json.dumps({"id": "p", "colour": "red"})}, "no field colour"),
        ({"item": json.dumps({"id": "p", "regions": [None]})}, "1 regions, but 0 images"),
        ({"negatives": json.dumps([{"product": {}}])}, "identity"),
    ],
)
def test_a_bad_row_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PairDataError, match=f"pair 4 cannot be read.*{message}"):
        parse_pair({**row(4), **change})


def test_a_manifest_must_add_up(tmp_path: Path) -> None:
    with pytest.raises(PairDataError, match=r"no training pairs in .* `moon make-pairs`"):
        Manifest.read(tmp_path)
    folder = write_pairs(tmp_path, [row(number) for number in range(8)])
    good = json.loads((folder / "manifest.json").read_text())
    for change, message in (
        ({"rows": 9}, "9 rows are not 2 row groups of 4"),
        ({"kinds": {"text": 7}}, "do not add up to 8 rows"),
        ({"schema_version": 2}, "schema_version is 2"),
        ({"colour": 1}, "colour Extra inputs"),
        ({"files": [{**good["files"][0], "path": "../x", "rows": 8}]}, "outside the data set's folder: ../x"),
    ):
        (folder / "manifest.json").write_text(json.dumps(good | change))
        with pytest.raises(PairDataError, match=message):
            Manifest.read(folder)


def test_verify_finds_a_changed_and_a_missing_file(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, [row(number) for number in range(8)])
    found = Manifest.read(folder)
    found.verify(folder)
    with (folder / "part-1.parquet").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(PairDataError, match=r"part-1.parquet differs"):
        found.verify(folder)
    (folder / "part-0.parquet").unlink()
    with pytest.raises(PairDataError, match=r"part-0.parquet is missing"):
        found.verify(folder)


@given(groups=st.integers(1, 30), per_group=st.integers(1, 7), batch=st.integers(1, 9), ranks=st.integers(1, 5))
def test_every_rank_has_the_same_number_of_batches(groups: int, per_group: int, batch: int, ranks: int) -> None:
    data = manifest(groups, per_group)
    if groups // ranks * per_group < batch:
        with pytest.raises(ValueError, match="no batch"):
            RankShare(data, batch, 0, ranks)
        return
    for rank in range(ranks):
        share = RankShare(data, batch, rank, ranks)
        read = [list(range(number * per_group, (number + 1) * per_group)) for number in range(share.groups)]
        found = list(mix_batches(read, share, epoch=1))
        assert len(found) == share.batches == RankShare(data, batch, 0, ranks).batches
        flat = [one for part in found for one in part]
        assert len(set(flat)) == len(flat) == share.batches * batch
        assert set(flat) <= set(range(share.rows))
        assert list(mix_batches(read, share, epoch=1, start=1)) == found[1:]


def test_a_rank_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 2 of 2"):
        RankShare(manifest(4, 4), 2, rank=2, ranks=2)
