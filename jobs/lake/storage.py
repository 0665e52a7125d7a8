"""Access to the root of a lake, a folder or an object store, through pyarrow's file systems."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from pyarrow import fs

FORBIDDEN_IN_PATH = re.compile(r"[\[\]^|\\]|%[0-9A-Fa-f]{2}")
"""What deltalake 1.6.6 cannot open in the path of a local table."""

SCRATCH_FOLDER = "_scratch"
"""Folder under the lake's root for what a run leaves for a while; `moon maintain` sweeps leftovers."""


@dataclass(frozen=True)
class Storage:
    """The root of a lake with its access options; picklable, so that Spark can send it to workers.

    Attributes:
        root: a folder path, or ``s3://bucket/prefix``.
        options: object-store options in deltalake's names; empty for a folder.
    """

    root: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine."""
        return "://" not in self.root or self.root.startswith("file://")

    def uri(self, *parts: str) -> str:
        """Return the URI of a path under the root; a folder's is absolute, without a scheme."""
        root = str(Path(self.root.removeprefix("file://")).resolve()) if self.is_local else self.root.rstrip("/")
        return "/".join((root, *parts))

    def spark_uri(self, uri: str) -> str:
        """Return the URI as Spark's readers want it (S3 through ``s3a``)."""
        return uri.replace("s3://", "s3a://", 1) if uri.startswith("s3://") else uri

    def decode(self, uris: list[str]) -> list[str]:
        """Return URIs listed by deltalake with a folder's path unquoted, because deltalake percent-encodes it."""
        return [unquote(uri) for uri in uris] if self.is_local else uris

    def open(self) -> tuple[fs.FileSystem, str]:
        """Return the file system and the root's path in it."""
        if self.is_local:
            return fs.LocalFileSystem(), self.uri()
        scheme, path = self.root.rstrip("/").split("://", 1)
        if scheme in {"s3", "s3a"}:
            return self._s3(), path
        filesystem, path = fs.FileSystem.from_uri(self.root)
        return filesystem, path

    def write_file(self, name: str, data: bytes) -> str:
        """Write a file below the root, with its folders, and return its URI."""
        filesystem, root = self.open()
        filesystem.create_dir(f"{root}/{name}".rpartition("/")[0], recursive=True)
        with filesystem.open_output_stream(f"{root}/{name}") as stream:
            stream.write(data)
        return self.uri(name)

    def _s3(self) -> fs.S3FileSystem:
        endpoint = self.options.get("AWS_ENDPOINT_URL")
        return fs.S3FileSystem(
            access_key=self.options.get("AWS_ACCESS_KEY_ID"),
            secret_key=self.options.get("AWS_SECRET_ACCESS_KEY"),
            session_token=self.options.get("AWS_SESSION_TOKEN"),
            region=self.options.get("AWS_REGION"),
            endpoint_override=endpoint.split("://", 1)[1] if endpoint else None,
            scheme=endpoint.split("://", 1)[0] if endpoint else None,
        )


def find_wrong_path(name: str, path: Path) -> str | None:
    """Return why a path cannot be a folder; None where it can.

    Args:
        name: what the folder is, in the message.
        path: the folder, which may not be there yet.
    """
    existing = find_existing(path)
    return None if existing.is_dir() else f"{name} {path} cannot be a folder, because {existing} is none"


def find_existing(path: Path) -> Path:
    """Return a path or the nearest folder above it that is there."""
    return next(part for part in (path, *path.parents) if os.path.lexists(part))


def escape_glob(path: str) -> str:
    """Return a path with glob characters escaped, for Spark's readers."""
    return "".join(f"\\{letter}" if letter in "*?[]{}\\" else letter for letter in path)
