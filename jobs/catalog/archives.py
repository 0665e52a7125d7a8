"""Reads packed catalogue files as streams: gzip, bzip2, Zstandard and the members of a ZIP archive.

Spark's readers unpack gzip and bzip2 themselves. `moon check-source`, and the tasks that read the other two formats,
use this module. The unpacked size is bounded, and names inside an archive are never used as paths.
"""

import bz2
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import IO
from urllib.parse import urlsplit

import pyarrow as pa

from jobs.catalog.parts import UnreadableFileError, is_ignored, select_data_files
from jobs.catalog.records import HEAD_BYTES, CatalogFormat, guess_catalog_format
from schemas.source_mapping import SourceFormat

MAX_ARRAY_BYTES = 128 << 20
"""Maximum size of a JSON array: one task parses it in one piece, which takes about ten times its size in memory."""

ARRAY_REMEDY = "deliver it as JSON Lines (one object a line) or Parquet"
MAX_UNPACKED_BYTES = 16 << 30
"""Bytes that one packed file may unpack to: far more than a catalogue has, less than a decompression bomb makes."""

_ERRORS = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, pa.ArrowException)
"""RuntimeError is zipfile's for an encrypted member and for a compression method that it does not know."""


class _BoundedStream(io.RawIOBase):
    """A stream that raises an error if an archive is broken or its unpacked size is over the limit."""

    def __init__(self, name: str, stream: IO[bytes], limit: int) -> None:
        self._name = name
        self._stream = stream
        self._limit = self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # what BufferedReader passes
        try:
            data = self._stream.read(len(buffer))
        except _ERRORS as error:
            raise UnreadableFileError(f"{self._name} cannot be unpacked: {_describe(error)}") from error
        self._left -= len(data)
        if self._left < 0:
            raise UnreadableFileError(f"{self._name} unpacks to more than {self._limit:,} bytes")
        buffer[: len(data)] = data
        return len(data)


def open_members(name: str, file: IO[bytes], limit: int = MAX_UNPACKED_BYTES) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and unpacked stream of each data file in a file; a plain file yields only itself.

    Args:
        name: name of the file; its suffix gives the compression.
        file: seekable stream of its bytes.
        limit: maximum number of unpacked bytes in total.

    Raises:
        UnreadableFileError: the archive is broken, encrypted, holds no data, or unpacks to too much; also from the
            streams when they are read.
    """
    lowered = name.lower()
    try:
        if lowered.endswith(".zip"):
            with zipfile.ZipFile(file) as archive:
                members = _list_members(name, archive)
                if sum(member.file_size for member in members) > limit:  # zipfile reads no more than a member claims
                    raise UnreadableFileError(f"{name} unpacks to more than {limit:,} bytes")
                for member in members:
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
    if kind != "json":
        yield from (line.removesuffix(b"\n") for line in iter_lines(stream, encoding))
        return
    document = b"".join(take_bytes(iter_chunks(stream, encoding), MAX_ARRAY_BYTES))
    if len(document) > MAX_ARRAY_BYTES:
        raise UnreadableFileError(f"a JSON array of more than {MAX_ARRAY_BYTES:,} bytes: {ARRAY_REMEDY}")
    yield document


def iter_lines(stream: IO[bytes], encoding: str | None) -> Iterator[bytes]:
    """Return the lines of a file as UTF-8 bytes with their line feeds; undecodable bytes become U+FFFD."""
    if encoding is None:
        return iter(stream)
    return (line.encode() for line in _decode(stream, encoding))


def iter_chunks(stream: IO[bytes], encoding: str | None) -> Iterator[bytes]:
    """Return a file as UTF-8 bytes in pieces of `HEAD_BYTES`, wherever its lines end."""
    if encoding is None:
        return iter(partial(stream.read, HEAD_BYTES), b"")
    return (text.encode() for text in iter(partial(_decode(stream, encoding).read, HEAD_BYTES), ""))


def _decode(stream: IO[bytes], encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, encoding, errors="replace", newline="\n")


def take_bytes(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield chunks until they are more than `limit` bytes."""
    total = 0
    for chunk in chunks:
        yield chunk
        total += len(chunk)
        if total > limit:
            return


def check_array_sizes(sizes: Mapping[str, int], limit: int = MAX_ARRAY_BYTES) -> None:
    """Check that every JSON array is small enough for one task to parse.

    Args:
        sizes: size of each file in bytes, by name.
        limit: maximum size of a file in bytes.

    Raises:
        UnreadableFileError: a file is larger.
    """
    largest = max(sizes, key=lambda name: sizes[name])
    if sizes[largest] > limit:
        raise UnreadableFileError(
            f"{largest} is a JSON array of {sizes[largest]:,} bytes, and one task parses an array in one piece: at "
            f"most {limit:,}; {ARRAY_REMEDY}"
        )


def make_empty_error(name: str) -> UnreadableFileError:
    """Return the error of a packed file that unpacks to nothing."""
    return UnreadableFileError(f"{name} unpacks to nothing. Nothing was changed; deliver it again")


def choose_data_files(
    catalog: str, found: Mapping[str, tuple[str, int]], kind: SourceFormat
) -> tuple[list[str], CatalogFormat]:
    """Return the names of a delivery's data files, sorted, and their format.

    Args:
        catalog: name of the delivery in messages.
        found: (path or URI, size in bytes) of every file by name (`jobs.catalog.parts.list_local_files`).
        kind: the mapping's format.

    Raises:
        UnreadableFileError: a part of the delivery would not be read, or its files are of several formats.
    """
    archives = find_archives(found)
    names = select_data_files(catalog, {name: size for name, (_, size) in found.items()}, kind, archives)
    return names, detect_format(catalog, names, kind, archives)


def find_archives(files: Mapping[str, tuple[str, int]]) -> dict[str, CatalogFormat]:
    """Return the format, by name, of local ZIP archives whose own name does not give it.

    Args:
        files: (path, size in bytes) by name; URIs are skipped.

    Raises:
        UnreadableFileError: an archive is broken, or does not hold catalogue files of one format alone.
    """
    found: dict[str, CatalogFormat] = {}
    for name, (path, _) in files.items():
        if name.lower().endswith(".zip") and guess_catalog_format(name) is None and not urlsplit(path).scheme:
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
        path: name of the delivery in messages.
        names: names of its data files.
        kind: the mapping's format, which is returned unless it is "auto".
        archives: result of `find_archives`.

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
