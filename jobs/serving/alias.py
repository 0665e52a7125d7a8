"""Creates and moves Milvus aliases, and keeps the history of the moves; no other module changes aliases.

Readers query one alias (`Settings.alias`). In addition, every model version has a pinned alias that names its newest
collection (`schemas.collection.pinned_alias`). `publish` creates both once. Only rollout, rollback and the migration to
another collection schema move the readers' alias (docs/decisions/0013-collection-names.md).

A move is recorded in `runs` (stage ``alias``) before and after it is made, with user, time, reason and both
collections. Clients cache the target of an alias, so a move is verified with a new client.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jobs.errors import NightStoppedError
from jobs.lake.store import Lake
from jobs.milvus.client import connect, read_alias_target, read_collection_properties
from jobs.settings import Settings
from jobs.state.ledger import read_ledger_head
from jobs.state.run_log import STARTED, SUCCESS, current_operator, make_run_row, record_runs
from schemas.collection import PROPERTY_MODEL, pinned_alias, strip_schema_suffix

if TYPE_CHECKING:
    from pymilvus import MilvusClient

STAGE = "alias"
"""Name of moves in `runs`."""


@dataclass(frozen=True)
class AliasMove:
    """A move of an alias from one collection to another.

    Attributes:
        alias: name of the alias.
        before, after: collections that it named before and after.
        model_version: model version of the collection `after`.
        verb: command that moved it: "rollout", "rollback" or "migrate".
        reason: reason of the move.
    """

    alias: str
    before: str
    after: str
    model_version: str
    verb: str
    reason: str


def create_alias(client: "MilvusClient", alias: str, collection: str) -> bool:
    """Create an alias unless there is one of that name; return whether this call created it.

    An existing alias, for example one created by a concurrent duplicate run, is not moved.
    """
    if read_alias_target(client, alias) is not None:
        return False
    from pymilvus import MilvusException  # noqa: PLC0415  (a second to import)

    try:
        client.create_alias(collection, alias)
    except MilvusException:
        if read_alias_target(client, alias) is None:
            raise
        return False
    return True


def move_alias(
    client: "MilvusClient", settings: Settings, lake: Lake, collection: str, *, verb: str, reason: str
) -> AliasMove:
    """Move the readers' alias to another collection, set its pinned alias, and verify with a new client.

    If the alias names that collection already, nothing is moved or recorded. The caller has brought the collection up
    to date (`jobs.operations.catch_up`) and holds the lease of the served one, which keeps nightly runs out.

    Args:
        client: Milvus client, connected by the settings.
        settings: settings with the alias.
        lake: lake with the history of moves.
        collection: new target of the alias.
        verb, reason: command and reason, for the history.

    Raises:
        NightStoppedError: the collection does not belong to this project, or a new client sees another target.
    """
    before = read_alias_target(client, settings.alias)
    version = read_model_version(client, collection)
    move = AliasMove(settings.alias, before or "", collection, version, verb, reason)
    pinned = pinned_alias(settings.alias, version)
    if before != collection:
        _note(lake, move, STARTED)
        client.load_collection(collection)  # ready before readers query it
        create_alias(client, settings.alias, collection)
        _alter(client, settings.alias, collection)
    create_alias(client, pinned, collection)
    old = read_alias_target(client, pinned) or ""
    if old != collection and strip_schema_suffix(old) == strip_schema_suffix(collection):
        _alter(client, pinned, collection)  # it named the collection of an earlier schema version
    for alias in (settings.alias, pinned):
        _verify(settings, alias, collection)
    if before != collection:
        _note(lake, move, SUCCESS)
    return move


def read_model_version(client: "MilvusClient", collection: str) -> str:
    """Return the model version of a collection.

    Raises:
        NightStoppedError: there is no such collection, or it does not belong to this project.
    """
    if not client.has_collection(collection):
        raise NightStoppedError(
            f"there is no collection {collection} in this Milvus (it has {', '.join(client.list_collections())})"
        )
    version = read_collection_properties(client, collection).get(PROPERTY_MODEL)
    if version is None:
        raise NightStoppedError(f"collection {collection} is not one of ours: it has no {PROPERTY_MODEL}")
    return version


def list_model_collections(client: "MilvusClient", collection: str) -> list[str]:
    """Return the collections of the model version that a collection belongs to, the newest schema version first."""
    name = strip_schema_suffix(collection)
    found = [one for one in client.list_collections() if strip_schema_suffix(one) == name]
    return sorted(found, key=lambda one: (len(one), one), reverse=True)


def find_previous_collection(lake: Lake, client: "MilvusClient", alias: str) -> str | None:
    """Return the collection of the model that an alias served before the current one; None if it does not exist.

    Moves form a stack of models: a rollback from B to A removes B, so that two rollbacks in a row do not return to B.
    Collections of one model with several schema versions are one entry.
    """
    stack: list[str] = []
    names = [name for move in read_alias_moves(lake, alias) for name in (move.before, move.after)]
    for name in [*names, read_alias_target(client, alias)]:  # the actual target, whatever the outcome of the last move
        if name:
            model = strip_schema_suffix(name)
            stack = [*(stack[: stack.index(model)] if model in stack else stack), model]
    existing = (list_model_collections(client, model) for model in reversed(stack[:-1]))
    return next((found[0] for found in existing if found), None)


def find_unserved_collection(client: "MilvusClient", served: str | None, name: str, *, option: str) -> str:
    """Return the collection of a name, or the newest unserved one of a model version that starts with it.

    Args:
        client: Milvus client.
        served: the served collection, which is not accepted.
        name: name of a collection, or the first digits of a model version.
        option: command line option of the name, for the message.

    Raises:
        NightStoppedError: no collection or several models match, or the served collection does.
    """
    known: list[str] = sorted(client.list_collections())
    digits = {one: strip_schema_suffix(one).removeprefix("moon_") for one in known}
    matching = [one for one in known if name and digits[one].startswith(name[: len(digits[one])])]
    found = [name] if name in known else matching
    models = {digits[one] for one in found}
    unserved = [one for one in found if one != served]
    if len(models) != 1 or not unserved:
        what = {0: "no collection", 1: "the collection that is served"}.get(len(models), "several collections")
        raise NightStoppedError(f"{option} {name} names {what}: choose one of {', '.join(known)}")
    return max(unserved, key=lambda one: (len(one), one))


def read_alias_moves(lake: Lake, alias: str) -> list[AliasMove]:
    """Return the moves of an alias, the oldest first; a completed move is listed twice (started and done)."""
    rows = [row for row in lake.read_arrow("runs").to_pylist() if row["stage"] == STAGE]
    found = [dict(row["details"]) for row in sorted(rows, key=lambda row: row["finished_at"])]
    names = AliasMove.__dataclass_fields__
    return [AliasMove(**{name: row[name] for name in names}) for row in found if row["alias"] == alias]


def find_alias_problem(lake: Lake, alias: str, target: str) -> str:
    """Return that an alias was moved by another program than ours, and what to do; empty where it was not.

    Args:
        lake: its history of runs says where nightly runs published, and where operators moved the alias.
        alias: the alias; of a collection's own name there is no history.
        target: the collection that it names.
    """
    rows = lake.read_arrow("runs").to_pylist() if lake.exists("runs") else []
    expected: list[str] = []  # the last completed target, then those of moves that were killed
    for row in sorted(rows, key=lambda row: row["finished_at"]):
        details = dict(row["details"])
        if row["stage"] not in ("publish", STAGE) or row["outcome"] == "failed" or details.get("alias") != alias:
            continue
        name = details.get("after") or details.get("collection") or ""
        expected = [name] if row["outcome"] == SUCCESS else [*expected, name]
    if not expected or target in expected:
        return ""
    return (
        f"alias {alias} names {target}, and the last run or rollout left it at {expected[0]}: somebody else moved it, "
        f"and readers see another state. Remedy: move it back (pymilvus `alter_alias({expected[0]!r}, {alias!r})`), or "
        f"bring in another model with `moon rollout`"
    )


def _alter(client: "MilvusClient", alias: str, collection: str) -> None:
    client.alter_alias(collection, alias)


def _verify(settings: Settings, alias: str, collection: str) -> None:
    with connect(settings) as fresh:
        found = read_alias_target(fresh, alias)
    if found != collection:
        raise NightStoppedError(
            f"alias {alias} was to name {collection}, but a fresh client finds it at {found}: somebody else moves it "
            "at the same time. Agree who does, then run the command again"
        )


def _note(lake: Lake, move: AliasMove, outcome: str) -> None:
    date = read_ledger_head(lake, move.after).high_water or datetime.now(UTC).date().isoformat()
    details = {**vars(move), "by": current_operator()}
    record_runs(lake, date, "", [make_run_row(STAGE, {}, details, outcome=outcome)])
