"""Training pairs through petastorm 0.12.1 (``.venv-train``): the reader of a training cluster.

petastorm shards by row group number and shuffles by seed; one worker thread keeps the order reproducible. Ranks whose
shard holds a row group more than the others stop where the others stop, and rows are counted against the manifest:
petastorm 0.13.1 lost some without a word (reference/dependencies.md).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from petastorm import make_batch_reader

from moon_model.training.pairs import PAIR_COLUMNS, Manifest, Pair, RankShare, mix_batches, parse_pair


class PetastormPairs:
    """Reads a data set of pairs with ``make_batch_reader``; arguments and errors as ``ArrowPairs``."""

    def __init__(self, folder: str | Path, batch_size: int, *, rank: int = 0, ranks: int = 1, seed: int = 0) -> None:
        self.folder = Path(folder).resolve()
        self.share = RankShare(Manifest.read(self.folder), batch_size, rank, ranks, seed)

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
        share = self.share
        reader = make_batch_reader(
            [f"file://{self.folder / file.path}" for file in share.manifest.files],
            schema_fields=[f"^{name}$" for name in PAIR_COLUMNS],
            reader_pool_type="thread",
            workers_count=1,
            seed=int(share.make_generator(epoch, 0).integers(2**31)),
            shuffle_row_groups=True,
            num_epochs=1,
            cur_shard=share.rank,
            shard_count=share.ranks,
        )
        try:
            for count, group in enumerate(reader, start=1):
                columns = [getattr(group, name).tolist() for name in PAIR_COLUMNS]
                yield [dict(zip(PAIR_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
                if count == share.groups:
                    return
        finally:
            reader.stop()
            reader.join()
