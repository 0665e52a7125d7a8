"""Training pairs through plain pyarrow: for machines without petastorm, held to the same tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from moon_model.training.pairs import PAIR_COLUMNS, Manifest, Pair, PairDataError, RankShare, mix_batches, parse_pair


class ArrowPairs:
    """Reads a data set of pairs row group by row group.

    Args:
        folder: with ``manifest.json``.
        batch_size: pairs a batch and rank.
        rank: this process, of ``ranks``.
        ranks: processes that train together.
        seed: decides, with the epoch, which rank reads which row group when.

    Raises:
        PairDataError: files and manifest do not agree.
        ValueError: too few pairs for one batch a rank.
    """

    def __init__(self, folder: str | Path, batch_size: int, *, rank: int = 0, ranks: int = 1, seed: int = 0) -> None:
        self.folder = Path(folder)
        self.share = RankShare(Manifest.read(self.folder), batch_size, rank, ranks, seed)
        self._groups = _row_groups(self.folder, self.share.manifest)

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch, the same for every rank."""
        return self.share.batches

    def epoch(self, number: int, start: int = 0) -> Iterator[list[Pair]]:
        """Yield the batches of epoch ``number``, the first ``start`` left out.

        Raises:
            PairDataError: a row cannot be read, or rows are missing.
        """
        for rows in mix_batches(self._read(number), self.share, number, start):
            yield [parse_pair(row) for row in rows]

    def _read(self, epoch: int) -> Iterator[list[dict[str, Any]]]:
        """The rank's row groups of an epoch: every rank deals the same deck and takes its own cards."""
        share = self.share
        order = share.make_generator(epoch, 0).permutation(len(self._groups))
        open_files: dict[Path, pq.ParquetFile] = {}
        try:
            for index in order[share.rank :: share.ranks][: share.groups]:
                path, group = self._groups[index]
                if path not in open_files:
                    open_files[path] = pq.ParquetFile(path)
                yield open_files[path].read_row_group(group, columns=list(PAIR_COLUMNS)).to_pylist()
        finally:
            for file in open_files.values():
                file.close()


def _row_groups(folder: Path, manifest: Manifest) -> list[tuple[Path, int]]:
    """List (file, row group) in the manifest's order, after a look at every footer."""
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
