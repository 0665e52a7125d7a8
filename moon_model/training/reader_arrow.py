"""A reader of training pairs that uses pyarrow, for machines without petastorm; it passes the same tests."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from moon_model.training.pairs import PAIR_COLUMNS, Manifest, PairDataError, PairReader


class ArrowPairs(PairReader):
    """Reads a data set of pairs with pyarrow, row group by row group."""

    def __init__(self, folder: str | Path, batch_size: int, *, rank: int = 0, ranks: int = 1, seed: int = 0) -> None:
        super().__init__(folder, batch_size, rank=rank, ranks=ranks, seed=seed)
        self._row_groups = _list_row_groups(self.folder, self.share.manifest)

    def _read_groups(self, epoch: int) -> Iterator[list[dict[str, Any]]]:
        # All ranks draw the same order of row groups; each takes every ranks-th of them.
        share = self.share
        order = share.make_generator(epoch, 0).permutation(len(self._row_groups))
        with ExitStack() as stack:
            open_file = cache(lambda path: stack.enter_context(pq.ParquetFile(path)))  # each file is opened once
            for index in order[share.rank :: share.ranks][: share.groups]:
                path, group = self._row_groups[index]
                yield open_file(path).read_row_group(group, columns=list(PAIR_COLUMNS)).to_pylist()


def _list_row_groups(folder: Path, manifest: Manifest) -> list[tuple[Path, int]]:
    """Return all (file, row group) in the order of the manifest, after a check of every footer."""
    groups: list[tuple[Path, int]] = []
    for file in manifest.files:
        path = folder / file.path
        try:
            footer = pq.read_metadata(path)
        except (OSError, ValueError) as error:  # pyarrow's own errors are both
            raise PairDataError(f"{path} cannot be read ({error}); write the pairs again") from error
        if missing := set(PAIR_COLUMNS) - set(footer.schema.to_arrow_schema().names):
            raise PairDataError(f"{path} lacks the columns {', '.join(sorted(missing))}")
        if footer.num_rows != file.rows:
            raise PairDataError(f"{path} has {footer.num_rows} rows, the manifest says {file.rows}")
        groups += [(path, number) for number in range(footer.num_row_groups)]
    if len(groups) != manifest.row_groups:
        raise PairDataError(f"{folder} has {len(groups)} row groups, the manifest says {manifest.row_groups}")
    return groups
