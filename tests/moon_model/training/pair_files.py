"""Small data sets of pairs on disk, and checks that every reader must pass."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon_model.training.pairs import PairDataError, PairSource

OpenPairs = Callable[..., PairSource]


def row(number: int) -> dict[str, Any]:
    """A text pair; every two neighbouring pairs have the same identity (variants)."""
    negative = {"identity": number + 1000, "product": {"id": f"n{number}", "title": f"other {number}"}}
    return {
        "pair_id": number,
        "kind": "text",
        "identity": number // 2,
        "query": json.dumps({"id": f"q{number}", "title": f"query {number}"}),
        "item": json.dumps({"id": f"p{number}", "title": f"item {number}", "category": ["A", "B"]}),
        "negatives": json.dumps([negative]),
    }


def write_pairs(folder: Path, rows: Sequence[dict[str, Any]], *, group: int = 4, files: int = 2, seed: int = 7) -> Path:
    """Write rows as ``moon make-pairs`` does: equal row groups, the manifest last."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = [rows[start : start + group] for start in range(0, len(rows), group)]
    described = []
    for number in range(files):
        own = [one for part in groups[number::files] for one in part]
        path = folder / f"part-{number}.parquet"
        pq.write_table(pa.Table.from_pylist(own), path, row_group_size=group)
        digest = sha256(path.read_bytes()).hexdigest()
        described.append({"path": path.name, "rows": len(own), "sha256": digest})
    manifest = {
        "schema_version": 1, "rows": len(rows), "row_groups": len(groups), "rows_per_group": group,
        "files": described, "kinds": dict(Counter(one["kind"] for one in rows)), "seed": seed,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def ids(source: PairSource, epoch: int, start: int = 0) -> list[list[int]]:
    return [[pair.id for pair in batch] for batch in source.iter_epoch(epoch, start)]


class ReaderContract:
    """The contract of a reader; a test class inherits these tests and defines how its reader is opened."""

    open: OpenPairs

    def test_an_epoch_gives_every_pair_once_as_it_was_written(self, tmp_path: Path) -> None:
        folder = write_pairs(tmp_path, [row(number) for number in range(48)])
        source = self.open(folder, 6, seed=3)
        pairs = {pair.id: pair for batch in source.iter_epoch(0) for pair in batch}
        assert source.batches_per_epoch == 8
        assert sorted(pairs) == list(range(48))
        assert pairs[5].item.product.title == "item 5"
        assert pairs[5].item.product.category == ("A", "B")
        assert pairs[5].query.product.title == "query 5"
        assert pairs[5].query.identity == pairs[5].item.identity == pairs[4].item.identity == 2
        assert [other.identity for other in pairs[5].negatives] == [1005]

    def test_the_order_is_a_function_of_seed_epoch_and_rank(self, tmp_path: Path) -> None:
        folder = write_pairs(tmp_path, [row(number) for number in range(48)])
        first = ids(self.open(folder, 4, seed=3), 1)
        assert first == ids(self.open(folder, 4, seed=3), 1)
        assert first != ids(self.open(folder, 4, seed=3), 2)
        assert first != ids(self.open(folder, 4, seed=4), 1)
        assert [one for batch in first for one in batch] != sorted(one for batch in first for one in batch)

    @pytest.mark.parametrize("start", [1, 5])
    def test_a_resumed_epoch_goes_on_where_it_stopped(self, tmp_path: Path, start: int) -> None:
        folder = write_pairs(tmp_path, [row(number) for number in range(48)])
        source = self.open(folder, 4, seed=3)
        assert ids(source, 2, start) == ids(source, 2)[start:]

    @pytest.mark.parametrize("groups", [12, 13])
    def test_ranks_share_the_rows_and_never_starve(self, tmp_path: Path, groups: int) -> None:
        """13 groups for 3 ranks: one is left out in each epoch, another one in the next; batches are equal."""
        folder = write_pairs(tmp_path, [row(number) for number in range(groups * 4)], files=3)
        sources = [self.open(folder, 5, rank=rank, ranks=3, seed=1) for rank in range(3)]
        seen: set[int] = set()
        for epoch in range(8):
            read = [ids(source, epoch) for source in sources]
            assert [len(batches) for batches in read] == [3, 3, 3]
            flat = [one for batches in read for batch in batches for one in batch]
            assert len(flat) == len(set(flat)) == 45
            seen |= set(flat)
        assert seen == set(range(groups * 4))

    def test_a_lost_row_is_an_error(self, tmp_path: Path) -> None:
        folder = write_pairs(tmp_path, [row(number) for number in range(16)], files=1)
        short = pq.read_table(folder / "part-0.parquet").slice(0, 15)
        pq.write_table(short, folder / "part-0.parquet", row_group_size=4)
        with pytest.raises(PairDataError, match=r"15 rows|3 rows"):
            ids(self.open(folder, 4), 0)

    def test_a_lost_row_group_is_an_error(self, tmp_path: Path) -> None:
        folder = write_pairs(tmp_path, [row(number) for number in range(16)], files=1)
        pq.write_table(
            pq.read_table(folder / "part-0.parquet").slice(0, 12), folder / "part-0.parquet", row_group_size=4
        )
        with pytest.raises(PairDataError, match=r"12 rows"):
            ids(self.open(folder, 4), 0)
