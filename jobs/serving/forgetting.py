"""check-lake --forget: takes damaged files out of the lake, so that it can be read and runs can make them again.

A data file is removed from its table by a commit. A damaged last commit or checkpoint is set aside under `_damaged/`:
the table is then as before that commit, as if the process had been killed before it. Nothing is deleted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from pyarrow import fs

from jobs.images.store import PACKS_FOLDER
from jobs.images.upkeep import forget_pack
from jobs.lake.checking import COMMIT_FILE, DATA, LAST_CHECKPOINT, LOG, Damage, find_log_damage
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink
from jobs.state.lease import read_lease_state
from jobs.state.ledger import read_ledger_head
from jobs.state.ledger_check import LEDGER_REMEDY
from schemas.tables import CHANGES, LEASES, MODELS, PLANS, PRODUCTS, STORED_IMAGES, TABLES

DAMAGED_FOLDER = "_damaged"
"""Folder under the lake's root for log files that were set aside."""

EPOCH_MARGIN = 1000
"""Epochs beyond the ledger's for a lease that was lost: more than any unfinished run can have taken."""

BACKUP_ONLY = "put the file back from a backup of the lake: the table cannot be read without it"

NEXT_STEPS = {
    "snapshots": "`moon prepare --date {date}` reads the catalogue again",
    "products": "`moon prepare --date {date}` makes them again from the snapshot",
    "row_roles": "`moon prepare --date {date}` makes them again from the snapshot",
    "quarantine": "`moon prepare --date {date}` makes them again from the snapshot",
    "plans": "`moon nightly --date {date}` plans the date again",
    "changes": "`moon nightly --date {date}` plans the date again",
    "vectors": "`moon backfill --from {date} --to {date} --model CHECKPOINT --yes` encodes what is lacking",
    "served": LEDGER_REMEDY,
    "images": "the next `moon fetch` asks for its photos again",
    "image_versions": "`moon prepare --date {date}` settles them again",
    "stored_images": "the next `moon fetch` stores its photos again",
    "regions": "nothing: its regions are detected again when their products are encoded",
    "leases": "nothing: a new lease is written",
    "holds": "if nights were held, hold them again with `moon restore`",
    "runs": "nothing: the history keeps a hole; `moon status` is right again after the next run",
}
"""What brings the rows of a forgotten file back, by table."""


@dataclass(frozen=True)
class Forgotten:
    """What was done about a damaged file.

    Attributes:
        file: path relative to the lake's root.
        is_done: whether it is out of its table; else only a backup helps.
        next_step: what to do now.
    """

    file: str
    is_done: bool
    next_step: str

    def as_dict(self) -> dict[str, object]:
        """Return the fields, for JSON."""
        return asdict(self)


def forget_damage(lake: Lake, found: Iterable[Damage]) -> list[Forgotten]:
    """Take damaged files out of the lake as far as that is safe; return what was done, in the same order.

    Args:
        lake: the lake; no run may write it.
        found: from `jobs.serving.lake_check.find_all_damage`.
    """
    return [_forget(lake, damage) for damage in sorted(found, key=lambda one: one.kind != LOG)]


def _forget(lake: Lake, damage: Damage) -> Forgotten:
    if damage.table == MODELS.name or (not damage.kind and not damage.file.startswith(f"{PACKS_FOLDER}/")):
        return Forgotten(damage.file, is_done=False, next_step=BACKUP_ONLY if damage.kind else damage.remedy)
    if damage.kind == LOG:
        return _set_aside(lake, damage)
    if damage.kind == DATA:
        partition = _read_partition(damage)
        path = damage.file.removeprefix(f"{damage.table}/")
        lake.commit(damage.table, [], attempt=None, partition=partition, remove=[path])
        return Forgotten(damage.file, is_done=True, next_step=_prepare_next(lake, damage.table, partition))
    forget_pack(lake, damage.file.removeprefix(f"{PACKS_FOLDER}/"))
    return Forgotten(damage.file, is_done=True, next_step=NEXT_STEPS[STORED_IMAGES.name])


def _set_aside(lake: Lake, damage: Damage) -> Forgotten:
    """Move a damaged file of a log away if the table can be read without it; else move it back."""
    filesystem, root = lake.storage.open()
    folder, _, name = damage.file.rpartition("/")
    infos = filesystem.get_file_info(fs.FileSelector(f"{root}/{folder}", allow_not_found=True))
    there = [info.base_name for info in infos]
    last = max((one for one in there if COMMIT_FILE.fullmatch(one)), default="")
    if name not in there or (COMMIT_FILE.fullmatch(name) and name != last):
        return Forgotten(damage.file, is_done=False, next_step=BACKUP_ONLY)
    is_checkpoint = not COMMIT_FILE.fullmatch(name) and name != LAST_CHECKPOINT
    gone = [name, *([LAST_CHECKPOINT] if is_checkpoint and LAST_CHECKPOINT in there else [])]
    aside = f"{root}/{DAMAGED_FOLDER}/{folder}"
    filesystem.create_dir(aside, recursive=True)
    for one in gone:
        filesystem.move(f"{root}/{folder}/{one}", f"{aside}/{one}")
    if any(LAST_CHECKPOINT not in one.file for one in find_log_damage(lake.storage, damage.table)):
        for one in gone:
            filesystem.move(f"{aside}/{one}", f"{root}/{folder}/{one}")
        return Forgotten(damage.file, is_done=False, next_step=BACKUP_ONLY)
    if not COMMIT_FILE.fullmatch(name):
        return Forgotten(damage.file, is_done=True, next_step="nothing: the table is read without it")
    return Forgotten(damage.file, is_done=True, next_step=_prepare_next(lake, damage.table, None))


def _prepare_next(lake: Lake, table: str, partition: Mapping[str, str] | None) -> str:
    """Make it possible to repeat the lost work, and return what to do now.

    Args:
        lake: the lake, without the damaged file.
        table: name of its table.
        partition: partition of the file; None where a commit was lost.
    """
    given = partition or {}
    dates = [one["date"] for one in lake.open(PRODUCTS.name).partitions()]
    date = given.get("date") or given.get("run_id", "")[:10] or max(dates, default="")
    if table in {PLANS.name, CHANGES.name} and date in dates:
        # A run is named by the version of its products: with another one the date is planned anew.
        lake.commit(PRODUCTS.name, [], attempt=None, partition={"date": date})
    if table == LEASES.name:
        for one in [partition] if partition else lake.open(LEASES.name).partitions():
            _write_lease(lake, one)
    return NEXT_STEPS[table].format(date=date or "DATE")


def _read_partition(damage: Damage) -> dict[str, str]:
    """Return the partition of a data file, from its folders."""
    folders = damage.file.split("/")[1:-1]
    found = dict(folder.split("=", 1) for folder in folders)
    return {name: found[name] for name in TABLES[damage.table].partition_by}


def _write_lease(lake: Lake, partition: Mapping[str, str]) -> None:
    """Write a released lease whose epoch is above that of any row that an unfinished run may have left."""
    known = max(
        read_ledger_head(lake, partition["collection"]).epoch, read_lease_state(lake, partition["collection"]).epoch
    )
    sink = FileSink(lake.storage, LEASES.name, partition)
    row = {"epoch": known + EPOCH_MARGIN, "holder": "", "expires_at": datetime.now(UTC), "released": True}
    sink.write_rows([row])
    lake.commit(LEASES.name, sink.close(), attempt=None, partition=partition, mode="overwrite")
