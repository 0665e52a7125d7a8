"""check-lake: looks for damaged files in the whole lake, its image store, and Milvus Lite; writes nothing."""

import zlib
from collections import defaultdict
from collections.abc import Iterator

from pyarrow import fs

from jobs.errors import DamageError
from jobs.images.store import PACKS_FOLDER
from jobs.lake.checking import Advance, Damage, find_table_damage
from jobs.lake.store import Lake
from jobs.milvus.client import LITE_CONSEQUENCE, find_lite_remedy
from jobs.milvus.lite import find_lite_damage
from jobs.settings import Settings
from schemas.tables import STORED_IMAGES, TABLES

MILVUS_LITE = "Milvus Lite"
PACK_CONSEQUENCE = "its photos cannot be read, and products that are new or changed are encoded without them"
PACK_REMEDY = (
    "put the file back from a backup of the lake; without one, `moon check-lake --forget` takes its photos out of the "
    "store, and `moon fetch` of the next date brings them from their hosts"
)


def find_all_damage(lake: Lake, settings: Settings, *, deep: bool, advance: Advance) -> Iterator[Damage]:
    """Yield every damaged file of the lake and of Milvus Lite.

    Args:
        lake, settings: lake, and the Milvus of the settings.
        deep: read all bytes and compare checksums: of pages in tables, of photos in the image store.
        advance: called with the progress.
    """
    for table in TABLES:
        yield from find_table_damage(lake.storage, table, deep=deep, advance=advance)
    yield from find_pack_damage(lake, deep=deep, advance=advance)
    if settings.is_lite:
        for file, problem in find_lite_damage(settings.milvus):
            yield Damage(MILVUS_LITE, file, problem, "", LITE_CONSEQUENCE, find_lite_remedy(file))


def find_pack_damage(lake: Lake, *, deep: bool, advance: Advance) -> Iterator[Damage]:
    """Yield the files of the image store that are missing, shorter than their photos, or (deep) have other bytes."""
    if not lake.exists(STORED_IMAGES.name):
        return
    try:
        rows = lake.read_arrow(STORED_IMAGES.name).to_pylist()
    except DamageError:
        return  # the table itself is damaged, and reported
    packs = defaultdict(list)
    for row in rows:
        packs[row["pack"]].append(row)
    filesystem, root = lake.storage.open()
    for number, (pack, photos) in enumerate(sorted(packs.items()), 1):
        info = filesystem.get_file_info(f"{root}/{PACKS_FOLDER}/{pack}")
        end = max(row["offset"] + row["size"] for row in photos)
        if info.type == fs.FileType.NotFound:
            problem = "is missing"
        elif info.size < end:
            problem = f"has {info.size:,} bytes, and its photos end at {end:,}"
        else:
            problem = _compare_photos(filesystem, info.path, photos) if deep else ""
        if problem:
            yield Damage(STORED_IMAGES.name, f"{PACKS_FOLDER}/{pack}", problem, "", PACK_CONSEQUENCE, PACK_REMEDY)
        advance(PACKS_FOLDER, number, len(packs))


def _compare_photos(filesystem: fs.FileSystem, path: str, photos: list[dict[str, int]]) -> str:
    with filesystem.open_input_file(path) as file:
        wrong = sum(zlib.crc32(file.read_at(row["size"], row["offset"])) != row["checksum"] for row in photos)
    return f"has {wrong:,} photos with other bytes than were stored" if wrong else ""
