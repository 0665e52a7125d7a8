"""Reads packed catalogue files as streams: gzip, bzip2, Zstandard and the members of a ZIP archive.

Spark's readers unpack gzip and bzip2 themselves; `moon check-source` and the tasks that read the other two use this
module. What is unpacked is bounded, and names inside an archive are never paths.
"""

import bz2
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

import pyarrow as pa

from jobs.catalog.parts import UnreadableFileError, is_ignored
from jobs.catalog.records import HEAD_BYTES, CatalogFormat, guess_catalog_format
from schemas.source_mapping import SourceFormat

MAX_ARRAY_BYTES = 128 << 20
"""Maximum size of a JSON array: one task parses it in one piece, which takes about ten times its size in memory."""

ARRAY_REMEDY = "deliver it as JSON Lines (one object a line) or Parquet"
MAX_UNPACKED_BYTES = 16 << 30
"""Bytes that one packed file may unpack to: far more than a catalogue has, less than a decompression bomb makes."""

_ERRORS = (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, pa.ArrowException)
# RuntimeError: an encrypted member; NotImplementedError: a compression method that zipfile does not know.


class _BoundedStream(io.RawIOBase):
    """A stream that ends with an error where an archive is broken or unpacks to too much."""

    def __init__(self, name: str, stream: IO[bytes], limit: int) -> None:
        self._name = name
        self._stream = stream
        self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # what BufferedReader passes
        try:
            data = self._stream.read(len(buffer))
        except _ERRORS as error:
            raise UnreadableFileError(f"{self._name} cannot be unpacked: {_describe(error)}") from error
        self._left -= len(data)
        if self._left < 0:
            raise UnreadableFileError(f"{self._name} unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
        buffer[: len(data)] = data
        return len(data)


def open_members(name: str, file: IO[bytes], limit: int = MAX_UNPACKED_BYTES) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the unpacked stream of each data file in a file; of a plain file only itself.

    Args:
        name: of the file; its suffix says how it is packed.
        file: its bytes, seekable.
        limit: bytes that all of it may unpack to.

    Raises:
        UnreadableFileError: the archive is broken, encrypted, holds no data, or unpacks to too much; also from the
            streams when they are read.
    """
    lowered = name.lower()
    try:
        if lowered.endswith(".zip"):
            with zipfile.ZipFile(file) as archive:
                for member in _list_members(name, archive):
                    with archive.open(member) as stream:
                        yield member.filename, _wrap(f"{member.filename} in {name}", stream, limit)
        elif lowered.endswith(".zst"):
            yield name, _wrap(name, pa.CompressedInputStream(file, "zstd"), limit)
        elif lowered.endswith(".gz"):
            yield name, _wrap(name, gzip.GzipFile(fileobj=file), limit)
        elif lowered.endswith(".bz2"):
            yield name, _wrap(name, bz2.BZ2File(file), limit)
        else:
            yield name, file
    except _ERRORS as error:
        raise UnreadableFileError(f"{name} cannot be unpacked: {_describe(error)}") from error


def iter_values(stream: IO[bytes], kind: CatalogFormat, encoding: str | None) -> Iterator[bytes]:
    """Yield the lines of an unpacked file without line feeds, or the whole of it for JSON, as UTF-8 bytes.

    Raises:
        UnreadableFileError: a JSON document is larger than one task can parse.
    """
    lines = iter_lines(stream, encoding)
    if kind != "json":
        yield from (line.removesuffix(b"\n") for line in lines)
        return
    document = b"".join(take_bytes(lines, MAX_ARRAY_BYTES))
    if len(document) > MAX_ARRAY_BYTES:
        raise UnreadableFileError(f"a JSON array of more than {MAX_ARRAY_BYTES:,} bytes: {ARRAY_REMEDY}")
    yield document


def iter_lines(stream: IO[bytes], encoding: str | None) -> Iterator[bytes]:
    """Yield the lines of a file as UTF-8 bytes with their line feeds; what cannot be decoded becomes U+FFFD."""
    if encoding is None:
        yield from stream
    else:
        for line in io.TextIOWrapper(stream, encoding, errors="replace", newline="\n"):
            yield line.encode()


def take_bytes(lines: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield lines until they are more than so many bytes."""
    total = 0
    for line in lines:
        yield line
        total += len(line)
        if total > limit:
            return


def find_archives(files: Mapping[str, tuple[str, int]]) -> dict[str, CatalogFormat]:
    """Return the format of local ZIP archives whose own name does not tell it, by name.

    Args:
        files: (path, bytes) by name.

    Raises:
        UnreadableFileError: an archive is broken, or does not hold catalogue files of one format alone.
    """
    found: dict[str, CatalogFormat] = {}
    for name, (path, _) in files.items():
        if name.lower().endswith(".zip") and guess_catalog_format(name) is None:
            try:
                with zipfile.ZipFile(path) as archive:
                    kind = guess_catalog_format(_list_members(name, archive)[0].filename)
            except _ERRORS as error:
                raise UnreadableFileError(f"{name} cannot be unpacked: {_describe(error)}") from error
            if kind is not None:
                found[name] = kind
    return found


def detect_format(
    path: str, names: Iterable[str], kind: SourceFormat, archives: Mapping[str, CatalogFormat]
) -> CatalogFormat:
    """Return the format of a delivery's data files; JSON Lines in a ``.json`` file count as JSON.

    Args:
        path: how the delivery is named in messages.
        names: of its data files.
        kind: the mapping's format; it decides unless it is "auto".
        archives: what `find_archives` returned.

    Raises:
        UnreadableFileError: they are of several formats.
    """
    if kind != "auto":
        return kind
    kinds = {found for name in names if (found := guess_catalog_format(name) or archives.get(name))}
    if len(kinds) > 1:
        raise UnreadableFileError(
            f"{path} holds files of several formats ({', '.join(sorted(kinds))}): name files of one format, with a "
            f"glob if need be, such as {path}/*.{min(kinds)}"
        )
    return kinds.pop()


def _list_members(name: str, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the data files of an archive, sorted by name."""
    files = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
    members = sorted((one for one in files if not is_ignored(one.filename)), key=lambda one: one.filename)
    kinds = {guess_catalog_format(one.filename) for one in members}
    if not members or None in kinds or len(kinds) > 1:
        listed = ", ".join(one.filename for one in files[:10]) or "nothing"
        raise UnreadableFileError(f"{name} must hold catalogue files of one format and nothing else; it holds {listed}")
    if empty := [one.filename for one in members if not one.file_size]:
        raise UnreadableFileError(f"{empty[0]} in {name} is empty")
    return members


def _wrap(name: str, stream: IO[bytes] | pa.NativeFile, limit: int) -> IO[bytes]:
    return io.BufferedReader(_BoundedStream(name, stream, limit), HEAD_BYTES)  # type: ignore[type-var]


def _describe(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
