"""A reader of training pairs that uses petastorm 0.12.1 (``.venv-train``), the default where it is installed.

petastorm distributes row groups over ranks by their number and shuffles them by a seed. One worker thread makes the
order reproducible. A rank stops after the row groups of its share, even if petastorm gives it one more. The number of
rows is compared with the manifest: petastorm 0.13.1 silently lost some (docs/decisions/0019-petastorm-environment.md).
"""

from collections.abc import Iterator
from typing import Any

from petastorm import make_batch_reader

from moon_model.training.pairs import PAIR_COLUMNS, PairReader


class PetastormPairs(PairReader):
    """Reads a data set of pairs by ``petastorm.make_batch_reader``."""

    def _read_groups(self, epoch: int) -> Iterator[list[dict[str, Any]]]:
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
