"""Reads every setting of the jobs, from ``MOON_*`` variables, a ``.env`` file or defaults, in this order.

Command-line options override a setting through `Settings.replace`. This module has no heavy imports, because the DAG
files import it too.
"""

import difflib
import json
import logging
import re
import sys
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parent.parent
"""Folder that holds the packages: a checkout or an unpacked archive, or the environment of an installed wheel."""

IS_INSTALLED = "site-packages" in REPOSITORY.parts
HOME = Path.cwd() if IS_INSTALLED else REPOSITORY
"""Where ``.env`` and ``var/`` are by default: the checkout; for an installed wheel the folder a command starts in."""

NEAR_NAME = 0.85
"""Similarity (difflib) from which on a variable's name is taken for a misspelt setting."""


def _check_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("no time zone of that name; write it as Europe/Berlin") from error
    return name


def _check_milvus(uri: str) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", uri) and not re.match(r"(https?|tcp|unix)://", uri):
        raise ValueError("neither a path nor a URI such as http://host:19530")
    return uri


def _check_memory(size: str) -> str:
    if not re.fullmatch(r"[0-9]+[kmgtKMGT][bB]?", size):
        raise ValueError("no size of Java's, such as 2g or 800m")
    return size


def _check_master(master: str) -> str:
    if not re.fullmatch(r"local(\[[0-9*, ]+\]|-cluster\[[0-9, ]+\])?|yarn|(spark|k8s)://\S+", master):
        raise ValueError("no Spark master, such as local[2], spark://host:7077, yarn or k8s://https://host:6443")
    return master


def _parse_json(value: object) -> object:
    """Return the value of JSON text; texts come from variables, other values from code."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError("no JSON") from error


class Settings(BaseSettings):
    """Settings of one run; each field is the variable ``MOON_<FIELD>``."""

    in_use: ClassVar["Settings | None"] = None
    """The settings that a command made last; for the message of a failure that does not know its place."""

    model_config = SettingsConfigDict(env_prefix="MOON_", env_file=HOME / ".env", extra="ignore", frozen=True)

    lake: str = Field(str(HOME / "var/lake"), description="folder or object-store URI of the lake")
    log: str = Field(
        str(HOME / "var/log/moon.log"), description="file for the log, tracebacks and Spark's own messages"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="text, or json: one JSON object a line in the log file"
    )
    metrics_file: str | None = Field(
        None,
        description="file for the numbers of the last run as OpenMetrics text; the lake has one for each run anyway",
    )
    metrics_gateway: SecretStr | None = Field(
        None, description="Prometheus push gateway that gets the numbers of each run, such as http://host:9091"
    )
    lake_storage_options: Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(_parse_json)] = Field(
        default_factory=dict,
        description="object-store options as JSON, in deltalake's names (AWS_ENDPOINT_URL …)",
    )
    milvus: Annotated[str, AfterValidator(_check_milvus)] = Field(
        str(HOME / "var/milvus.db"), description="Milvus Lite path, or http://host:port of a server"
    )
    milvus_token: SecretStr = Field(SecretStr(""), description="user:password or API key of a Milvus server")
    milvus_timeout: float = Field(60, gt=0, description="seconds one call to Milvus may take")
    milvus_retry_seconds: float = Field(
        30,
        ge=0,
        description="seconds for which a run makes a call again that fails because Milvus restarts or is cut off",
    )
    milvus_tier: Literal["lite-3.2", "server-2.3", "server-2.4", "server-2.5", "server-2.6"] | None = Field(
        None, description="tier of a Milvus server (docs/serving.md); default: server-2.3, the one that tests prove"
    )
    alias: str = Field("products", description="alias that readers query")
    index: str = Field("auto", description="index of a new collection: auto, FLAT, HNSW, IVF_FLAT or DISKANN (servers)")
    model: str | None = Field(None, description="checkpoint folder; default: the model behind the alias")
    detector: str | None = Field(None, description="detector folder; default: the shipped one")

    catalog: str | None = Field(None, description="catalogue file or folder")
    mapping: str | None = Field(None, description="mapping file (TOML); default: mapping.toml next to the catalogue")
    allowed_roots: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_json)] = Field(
        (), description="folders or URIs that images may come from; default: the mapping's image base and roots"
    )
    image_version: Literal["auto", "sha256"] = Field(
        "auto", description="auto: catalogue column, else etag, else size and mtime; sha256: read every image"
    )
    private_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_json)] = Field(
        (), description="hosts of photos that may have private addresses, as JSON; a root that names an address may too"
    )
    host_connections: int = Field(16, ge=1, description="requests for photos to one host at a time")
    connect_seconds: float = Field(5, gt=0, description="seconds a host of photos may take to accept a connection")
    read_seconds: float = Field(10, gt=0, description="seconds a host of photos may be silent")
    request_seconds: float = Field(60, gt=0, description="seconds one request for a photo may take")
    host_failures: int = Field(50, ge=1, description="failures in a row after which a host is given up for the run")
    use_proxy: bool = Field(False, description="fetch photos through the proxy that HTTPS_PROXY and HTTP_PROXY name")
    recheck_nights: int = Field(7, ge=1, description="nights within which every known photo by URL is asked for again")
    image_store: Literal["urls", "all"] = Field(
        "urls",
        description="photos that the lake's image store keeps: urls: those named by URL; all: also those of "
        "folders and object stores",
    )
    image_store_side: int = Field(
        0, ge=0, description="longer side to which photos are reduced before they are stored; 0: as delivered"
    )
    image_store_gib: float = Field(
        50, ge=0, description="GiB of stored photos that `moon maintain` keeps although no retained date names them"
    )
    timezone: Annotated[str, AfterValidator(_check_timezone)] = Field(
        "UTC", description="the shop's time zone; decides a night's snapshot date"
    )
    snapshot_offset_days: int = Field(0, ge=0, description="the night of day D embeds the snapshot of D minus this")

    jobs_env: str = Field(
        sys.prefix if IS_INSTALLED else str(REPOSITORY / ".venv"),
        description="virtual environment that DAG tasks submit the jobs in",
    )
    schedule: str = Field("0 2 * * *", description="cron of Airflow's nightly, in the shop's time zone")
    deadline_hours: float = Field(
        8, ge=0, description="hours after a night was queued at which Airflow says that it is late; 0: never"
    )
    spark_master: Annotated[str, AfterValidator(_check_master)] = Field(
        "local[2]", description="Spark master when a job starts its own session"
    )
    spark_memory: Annotated[str, AfterValidator(_check_memory)] = Field(
        "2g", description="driver memory of a session that a job starts itself"
    )
    batch_tokens: int | None = Field(
        None, ge=1, description="padded tokens in one forward pass of the encoder; default: by device"
    )

    max_title: int = Field(1000, ge=1, description="characters of a title before the row is refused")
    max_description: int = Field(20_000, ge=1, description="characters of a description before the row is refused")
    max_images: int = Field(30, ge=1, description="images of a product before the row is refused")
    max_deletes: float = Field(0.1, ge=0, le=1, description="share of served products a night may delete")
    held_delete_nights: int = Field(
        3, ge=0, description="complete deliveries without a product after which its held delete is done; 0: never"
    )
    max_refusals: float = Field(0.1, ge=0, le=1, description="share of rows, and of photos by URL, a night may refuse")
    max_shift: float = Field(
        0.5, ge=0, le=1, description="share of neighbours that untouched products may lose in a night (canary queries)"
    )
    max_unreachable: float = Field(
        0.1, ge=0, le=1, description="share of the catalogue's photos that may be missing or unreachable in a run"
    )
    kept_nights: int = Field(
        3, ge=0, description="nights that a product with a new text but an unreachable photo stays as it was served"
    )
    max_kept: float = Field(
        0.01, ge=0, le=1, description="share of products kept back above which `moon status` calls nothing fresh"
    )
    breaker_floor: int = Field(10, ge=0, description="a breaker never trips on this many rows or fewer")
    min_row_ratio: float = Field(
        0.5, ge=0, le=1, description="rows of the snapshot over rows of the latest earlier date"
    )
    max_null_share: float = Field(
        0.2, ge=0, le=1, description="share of rows without id, title or image at which the gate closes"
    )
    max_duplicate_share: float = Field(0.2, ge=0, le=1, description="share of repeated ids at which the gate closes")
    min_category_coverage: float = Field(
        0.5, ge=0, le=1, description="share of the earlier date's top categories that must still be there"
    )

    lite_max_rows: int = Field(20_000, ge=1, description="rows that a Milvus Lite file may hold")
    upsert_batch_bytes: int = Field(4 << 20, ge=1, description="bytes of one upsert request")
    auto_migrate: bool = Field(
        True, description="whether stages move a lake of an earlier release to this one, as `moon migrate` does"
    )
    lease_seconds: int = Field(120, ge=1, description="a writer's lease ends this long after its last renewal")
    wait_seconds: float = Field(
        900, ge=0, description="how long to wait for another writer of the collection or of the Milvus Lite path"
    )
    backfill_ask_hours: float = Field(
        1.0, ge=0, description="hours of work (or work of unknown length) above which `moon backfill` wants --yes"
    )
    retention_days: int = Field(30, ge=1, description="days of snapshots, products, quarantine and plans kept")

    def replace(self, **options: Any) -> "Settings":
        """Return these settings, with a setting replaced by its option if that is not None."""
        given = {name: value for name, value in options.items() if value is not None}
        made = type(self).model_validate({**self.model_dump(), **given})
        type(self).in_use = made
        return made

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *arguments: Any, **sources: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the usual sources after a check of the names in the environment and ``.env``."""
        usual = super().settings_customise_sources(settings_cls, *arguments, **sources)
        for source in usual:
            if isinstance(source, EnvSettingsSource):
                _check_names(source.env_vars, cls.model_fields)
        return usual

    @property
    def is_lite(self) -> bool:
        """Whether the Milvus URI is a path, which means the embedded Milvus Lite."""
        return "://" not in self.milvus

    def compute_snapshot_date(self, moment: datetime) -> str:
        """Return the ISO snapshot date of a run that starts at a given time: the shop's local date minus the offset."""
        day = moment.astimezone(ZoneInfo(self.timezone)).date() - timedelta(days=self.snapshot_offset_days)
        return day.isoformat()

    def storage_options(self) -> dict[str, str]:
        """Return the object-store options in clear text, for the libraries that need them."""
        return {name: value.get_secret_value() for name, value in self.lake_storage_options.items()}


def has_credentials(uri: str) -> bool:
    """Return whether a URI names a user or a password, such as ``http://user:password@host:19530``."""
    return "://" in uri and "@" in urlsplit(uri).netloc


def _check_names(variables: Mapping[str, str | None], fields: Collection[str]) -> None:
    """Warn of variables that have nearly the name of a setting; a breaker with a misspelt limit is not limited."""
    known = [f"MOON_{name.upper()}" for name in fields]
    for name in sorted(text.upper() for text in variables if text.lower().startswith("moon_")):
        nearest = difflib.get_close_matches(name, known, 1, NEAR_NAME)
        if nearest and name not in known:
            _warn_of_name(name, nearest[0])


@cache
def _warn_of_name(name: str, nearest: str) -> None:
    """Warn once in a process: settings are made many times."""
    log.warning("%s (environment or .env) is no setting and has no effect: do you mean %s?", name, nearest)
