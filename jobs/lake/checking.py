"""Finds damaged files of the lake's tables: the Delta log, and live data files by the sizes in the log.

Files are judged by what they are, not by the message of the reader that failed at them. A deep look also reads every
page and compares its CRC-32, which `jobs.lake.writing` writes.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyarrow import fs

from jobs.lake.storage import Storage
from schemas.tables import TABLES

LOG_FOLDER = "_delta_log"
LAST_CHECKPOINT = "_last_checkpoint"
COMMIT_FILE = re.compile(r"(\d{20})\.json")
CHECKPOINT_FILE = re.compile(r"(\d{20})\.checkpoint.*\.parquet")
FILES_PER_REQUEST = 1000
"""Files whose sizes are asked for at once."""

LOG, DATA = "log", "data"
"""Values of `Damage.kind`."""

CONSEQUENCES = {
    "served": "what the collection should hold is not known any more; the collection itself is untouched",
    "vectors": "rows cannot be repaired, restored or reused with these vectors; what is served is untouched",
    "products": "the date can neither be served again nor repaired from; what is served is untouched",
    "runs": "the history of runs has a hole; what is served is untouched",
}
"""What the damage of a table means, by its name; others: `OTHER_CONSEQUENCE`."""

OTHER_CONSEQUENCE = "no run can read this table; what is served is untouched"

REMEDY = (
    "put the file back from a backup of the lake; without one, `moon check-lake --forget` takes it out of the table "
    "and says what brings its rows back"
)

Advance = Callable[[str, int, int], None]
"""Progress of a check: the table, the files that are checked and all its files."""


@dataclass(frozen=True)
class Damage:
    """One damaged file.

    Attributes:
        table: name of the table, or of another part of the lake.
        file: path relative to the lake's root.
        problem: what is wrong with it.
        kind: `LOG` or `DATA`; empty for files of another part.
        consequence, remedy: what it means, and what to do.
    """

    table: str
    file: str
    problem: str
    kind: str = DATA
    consequence: str = ""
    remedy: str = REMEDY

    def __str__(self) -> str:
        return f"{self.file} {self.problem}: {self.consequence}. Remedy: {self.remedy}"

    def as_dict(self) -> dict[str, str]:
        """Return the fields, for JSON."""
        return asdict(self)


def find_table_damage(
    storage: Storage, table: str, *, deep: bool = False, advance: Advance | None = None
) -> list[Damage]:
    """Return the damaged files of one table; none where the table does not exist.

    Args:
        storage: the lake's root.
        table: name of the table.
        deep: read every live file and compare the checksums of its pages.
        advance: called after every file.

    Raises:
        OSError: the store does not answer.
    """
    log = find_log_damage(storage, table)
    if log:
        return log  # without a log nobody knows which files are live
    return list(_check_live_files(storage, table, deep, advance or _ignore))


def find_lake_damage(storage: Storage) -> Damage | None:
    """Return the first damage in any table, by logs, sizes and footers; None where nothing is damaged."""
    for table in TABLES:
        if found := find_table_damage(storage, table):
            return found[0]
    return None


def find_log_damage(storage: Storage, table: str) -> list[Damage]:
    """Return the damaged files of a table's Delta log: checkpoints and commits that the table is read from."""
    filesystem, root = storage.open()
    folder = f"{root}/{table}/{LOG_FOLDER}"
    sizes = _list_sizes(filesystem, folder)
    commits = {int(found[1]): name for name in sizes if (found := COMMIT_FILE.fullmatch(name))}
    checkpoints = {int(found[1]): name for name in sizes if (found := CHECKPOINT_FILE.fullmatch(name))}
    if not commits and not checkpoints:
        return _find_lost_log(filesystem, root, table)
    start = max(checkpoints, default=-1)
    problems: list[tuple[str, str]] = []
    if start >= 0 and (problem := _read_checkpoint(filesystem, f"{folder}/{checkpoints[start]}")):
        problems.append((checkpoints[start], problem))
    if LAST_CHECKPOINT in sizes and (problem := _read_commit(filesystem, f"{folder}/{LAST_CHECKPOINT}")):
        problems.append((LAST_CHECKPOINT, problem))
    for version in range(start + 1, max([*commits, start]) + 1):
        name = commits.get(version)
        if name is None:
            problems.append((f"{version:020}.json", "is missing from the table's log"))
        elif problem := _read_commit(filesystem, f"{folder}/{name}"):
            problems.append((name, problem))
    return [_describe(table, f"{table}/{LOG_FOLDER}/{name}", problem, LOG) for name, problem in problems]


def list_live_files(storage: Storage, table: str) -> list[dict[str, object]]:
    """Return path, size_bytes and num_records of a table's live files, as its log has them; none without a table.

    Raises:
        DeltaError: the log cannot be read.
    """
    options = dict(storage.options) or None
    if not DeltaTable.is_deltatable(storage.uri(table), storage_options=options):
        return []
    actions = pa.table(DeltaTable(storage.uri(table), storage_options=options).get_add_actions(flatten=True))
    columns = ["path", "size_bytes", "num_records"]
    return [{name: row[name] for name in columns} for row in actions.to_pylist()]


def check_parquet(filesystem: fs.FileSystem, path: str, rows: int | None, *, deep: bool) -> str:
    """Return what is wrong with a Parquet file; empty where nothing is.

    Args:
        filesystem, path: the file.
        rows: the rows that it must have; None where nobody counted.
        deep: read every page and compare its checksum, where it has one.
    """
    try:
        with pq.ParquetFile(path, filesystem=filesystem, page_checksum_verification=deep) as file:
            found = file.metadata.num_rows
            for _ in file.iter_batches() if deep else ():
                pass
    except FileNotFoundError:
        return "is missing"
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the store, not the file
        return f"is no whole Parquet file ({' '.join(str(error).split())[:160]})"
    return f"has {found:,} rows, and the log says {rows:,}" if rows is not None and found != rows else ""


def _check_live_files(storage: Storage, table: str, deep: bool, advance: Advance) -> Iterator[Damage]:
    filesystem, root = storage.open()
    try:
        live = list_live_files(storage, table)
    except DeltaError as error:
        problem = f"cannot be read ({' '.join(str(error).splitlines()[:1])[:160]})"
        yield _describe(table, f"{table}/{LOG_FOLDER}", problem, LOG)
        return
    paths = storage.decode([str(row["path"]) for row in live])
    advance(table, 0, len(live))
    for start in range(0, len(live), FILES_PER_REQUEST):
        part = paths[start : start + FILES_PER_REQUEST]
        infos = filesystem.get_file_info([f"{root}/{table}/{path}" for path in part])
        for number, (path, info, row) in enumerate(zip(part, infos, live[start:], strict=False), start + 1):
            if problem := _judge_file(filesystem, info, row, deep):
                yield _describe(table, f"{table}/{path}", problem, DATA)
            advance(table, number, len(live))


def _judge_file(filesystem: fs.FileSystem, info: fs.FileInfo, row: dict[str, object], deep: bool) -> str:
    if info.type == fs.FileType.NotFound:
        return "is missing"
    if info.size != row["size_bytes"]:
        return f"has {info.size:,} bytes, and the log says {row['size_bytes']:,}"
    rows = row["num_records"]
    return check_parquet(filesystem, info.path, rows if isinstance(rows, int) else None, deep=deep)


def _describe(table: str, file: str, problem: str, kind: str) -> Damage:
    return Damage(table, file, problem, kind, CONSEQUENCES.get(table, OTHER_CONSEQUENCE))


def _find_lost_log(filesystem: fs.FileSystem, root: str, table: str) -> list[Damage]:
    """Return the damage of a table that has files and no log; one that was never made has neither."""
    if any(name.endswith(".parquet") for name in _list_sizes(filesystem, f"{root}/{table}", recursive=True)):
        return [_describe(table, f"{table}/{LOG_FOLDER}", "is missing, and the table has files", LOG)]
    return []


def _list_sizes(filesystem: fs.FileSystem, folder: str, *, recursive: bool = False) -> dict[str, int]:
    """Return the files of a folder by name, with their sizes."""
    infos: Iterable[fs.FileInfo] = filesystem.get_file_info(
        fs.FileSelector(folder, allow_not_found=True, recursive=recursive)
    )
    return {info.base_name: info.size for info in infos if info.type == fs.FileType.File}


def _read_commit(filesystem: fs.FileSystem, path: str) -> str:
    """Return what is wrong with a file of JSON lines; empty where nothing is."""
    with filesystem.open_input_stream(path) as stream:
        lines = stream.read().splitlines()
    if not lines:
        return "is empty"
    try:
        for line in lines:
            json.loads(line)
    except ValueError:
        return "is truncated or no JSON"
    return ""


def _read_checkpoint(filesystem: fs.FileSystem, path: str) -> str:
    return check_parquet(filesystem, path, None, deep=True)


def _ignore(table: str, done: int, files: int) -> None:
    """Show no progress."""
