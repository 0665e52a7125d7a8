import bz2
import gzip
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.catalog.archives import find_archives, iter_lines, open_members
from jobs.catalog.parts import UnreadableFileError

TEXT = b"id,title\n1,a\n" * 100


def pack(kind: str, data: bytes = TEXT) -> bytes:
    if kind == "gz":
        return gzip.compress(data)
    if kind == "bz2":
        return bz2.compress(data)
    if kind == "zst":
        return pa.compress(data, codec="zstd", asbytes=True)
    if kind == "zip":
        return pack_members({"../../etc/a.csv": data})
    return data


def pack_members(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def read(name: str, packed: bytes, limit: int = 1 << 20) -> list[tuple[str, bytes]]:
    return [(member, stream.read()) for member, stream in open_members(name, io.BytesIO(packed), limit)]


@pytest.mark.parametrize("kind", ["gz", "bz2", "zst", "zip", ""])
def test_each_kind_unpacks_to_the_same(kind: str) -> None:
    assert [data for _, data in read(f"a.csv.{kind}".rstrip("."), pack(kind))] == [TEXT]


@pytest.mark.parametrize("kind", ["gz", "bz2", "zst", "zip"])
def test_a_cut_archive_is_an_error_that_names_the_file(kind: str) -> None:
    packed = pack(kind, bytes(range(256)) * 500)
    with pytest.raises(UnreadableFileError, match=r"a\.csv"):
        read(f"a.csv.{kind}", packed[: len(packed) // 2])
    with pytest.raises(UnreadableFileError, match="cannot be unpacked"):
        read(f"a.csv.{kind}", b"no archive at all")


@pytest.mark.parametrize("kind", ["gz", "bz2", "zst", "zip"])
def test_a_bomb_is_stopped(kind: str) -> None:
    with pytest.raises(UnreadableFileError, match="unpacks to more"):
        read(f"a.csv.{kind}", pack(kind, bytes(1 << 20)), limit=1000)


def test_the_members_of_an_archive_share_its_limit() -> None:
    with pytest.raises(UnreadableFileError, match="unpacks to more than 1,000 bytes"):
        read("shop.zip", pack_members({"a.csv": bytes(600), "b.csv": bytes(600)}), limit=1000)


def test_members_are_read_in_order_of_their_names_and_marks_are_left_out() -> None:
    packed = pack_members({"b.csv": b"2", "a.csv": b"1", "__MACOSX/._a.csv": b"x", "photo.jpg": b"y"})
    assert read("shop.zip", packed) == [("a.csv", b"1"), ("b.csv", b"2")]


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({}, "nothing"),
        ({"a.csv": b"1", "b.jsonl": b"1"}, "one format"),
        ({"a.csv": b"1", "readme.md": b"1"}, "nothing else"),
        ({"a.csv": b"1", "b.csv": b""}, "b.csv in shop.zip is empty"),
    ],
)
def test_an_archive_with_anything_else_is_refused(members: dict[str, bytes], why: str) -> None:
    with pytest.raises(UnreadableFileError, match=why):
        read("shop.zip", pack_members(members))


def test_members_tell_the_format_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(pack_members({"a.tsv": b"1"}))
    assert find_archives({"export.zip": (str(path), 1), "a.csv": ("/nowhere", 1)}) == {"export.zip": "csv"}


def test_lines_are_utf_8_whatever_the_file_is() -> None:
    text = "id;Größe\r\n1;ü\n"
    for encoding in ("cp1252", "utf-16", "utf-8"):
        assert b"".join(iter_lines(io.BytesIO(text.encode(encoding)), encoding)) == text.encode()
