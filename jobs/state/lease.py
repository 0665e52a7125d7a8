"""The write lease: one writer per collection (docs/decisions/0007-lease-and-epoch.md).

A lease is a row of `leases`. It is taken, renewed and released by commits that are fenced by a counter: if two writers
want it at the same time, the commit of one fails because the counter has changed. Taking it raises the *epoch*, which
every row written under it carries. Rows of a writer that died or stalled can thus be told from those of its successor.

A lease ends by release, by expiry, or when its holder is found dead on this host. Clocks of several hosts may differ by
`CLOCK_MARGIN_SHARE` of the lease's length: a holder stops that much before the expiry, and a successor waits that much
longer.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from jobs.errors import FenceError, MoonError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake
from jobs.lake.writing import FileSink
from jobs.settings import Settings
from jobs.state.stop_signal import StopMark

log = logging.getLogger(__name__)

CLOCK_MARGIN_SHARE = 0.1
"""Share of a lease's length that clocks may differ by."""

RENEWALS_PER_LEASE = 3
"""Renewals within a lease's length: two may fail before it is lost."""

LEASE_POLL_SECONDS = 1.0
LEASE_LOG_SECONDS = 15.0


class LeaseLostError(MoonError):
    """Another writer has taken the lease of the collection, or the lease could not be renewed in time."""


class LeaseBusyError(MoonError):
    """Another writer has held the lease of the collection for longer than the waiting time."""


@dataclass(frozen=True)
class LeaseState:
    """The last lease of a collection, as recorded in the lake.

    Attributes:
        counter: number of commits of its leases; used for fencing.
        epoch: epoch of the last lease; 0 if there was none.
        holder: ``host:pid:start:uuid``; empty if there was none.
        expires_at: time at which it ends unless it is renewed.
        released: whether its holder released it.
    """

    counter: int
    epoch: int
    holder: str
    expires_at: datetime
    released: bool


@dataclass(frozen=True)
class LeaseGuard:
    """Check that writing tasks make before every batch: whether the lease is still held; picklable."""

    storage: Storage
    collection: str
    holder: str
    margin: timedelta

    @property
    def stop(self) -> StopMark:
        """The stop mark of this holder."""
        return StopMark(self.storage, self.holder)

    def check(self) -> None:
        """Check that the lease is still held.

        Raises:
            LeaseLostError: another writer has it, or it has expired.
            StoppedError: its holder was asked to stop.
        """
        self.stop.check(self.collection)
        state = read_lease_state(Lake(self.storage), self.collection)
        if state.holder != self.holder or state.released:
            raise LeaseLostError(
                f"{describe_holder(state.holder)} has taken {self.collection} over (epoch {state.epoch}): this "
                f"run ends "
                "here and the other reconciles what it left. Nothing is to be done unless the other fails too"
            )
        if datetime.now(UTC) > state.expires_at - self.margin:
            raise LeaseLostError(
                f"the lease on {self.collection} ran out at {state.expires_at:%H:%M:%S} UTC without being renewed (a "
                "stalled machine, or a lake that cannot be written?): run the stage again"
            )


class Lease:
    """A lease that is held, and renewed by a background thread until it is released.

    Attributes:
        epoch: epoch of every row written under this lease.
        guard: the check for writing tasks.
    """

    def __init__(self, lake: Lake, collection: str, seconds: float) -> None:
        self._lake, self._collection = lake, collection
        self._length = timedelta(seconds=seconds)
        self._holder = make_holder_id()
        self._counter = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name=f"lease-{collection}")
        self.epoch = 0
        self.guard = LeaseGuard(lake.storage, collection, self._holder, self._length * CLOCK_MARGIN_SHARE)

    def take(self, wait_seconds: float) -> None:
        """Take the lease, waiting while another writer has it.

        Raises:
            LeaseBusyError: another writer still has it after `wait_seconds`.
        """
        start, logged = time.monotonic(), -LEASE_LOG_SECONDS
        while not self._try_acquire():
            state, waited = read_lease_state(self._lake, self._collection), time.monotonic() - start
            if waited > wait_seconds:
                raise LeaseBusyError(
                    f"{describe_holder(state.holder)} has been writing {self._collection} for over {waited:.0f} "
                    f"s. Let it "
                    f"finish or end it (its lease ends at {state.expires_at:%H:%M:%S} UTC unless renewed), then run "
                    "again; MOON_WAIT_SECONDS waits longer"
                )
            if waited - logged >= LEASE_LOG_SECONDS:
                logged = waited
                log.info("waiting for %s, which is writing %s", describe_holder(state.holder), self._collection)
            time.sleep(LEASE_POLL_SECONDS)
        self._thread.start()

    def _try_acquire(self) -> bool:
        state = read_lease_state(self._lake, self._collection)
        if state.holder == self._holder:  # our commit succeeded although it reported a failure
            self._counter, self.epoch = state.counter, state.epoch
            return True
        if not is_lease_free(state, self.guard.margin):
            return False
        self._counter, self.epoch = state.counter, state.epoch + 1
        try:
            self._write(released=False)
        except FenceError:
            return False
        return True

    def renew(self) -> None:
        """Extend the lease by its length from now.

        Raises:
            LeaseLostError: another writer has taken it.
        """
        try:
            self._write(released=False)
        except FenceError:
            state = read_lease_state(self._lake, self._collection)
            if state.holder != self._holder:
                raise LeaseLostError(f"{describe_holder(state.holder)} has taken {self._collection} over") from None
            self._counter = state.counter

    def release(self) -> None:
        """Release the lease; no effect if another writer has taken it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self._write(released=True)
        except FenceError:
            log.warning("the lease on %s had passed on before its release", self._collection)

    def _write(self, *, released: bool) -> None:
        partition = {"collection": self._collection}
        sink = FileSink(self._lake.storage, "leases", partition)
        expires = datetime.now(UTC) + self._length
        sink.write_rows([{"epoch": self.epoch, "holder": self._holder, "expires_at": expires, "released": released}])
        counter = (_counter_name(self._collection), self._counter)
        self._lake.commit("leases", sink.close(), attempt=None, partition=partition, mode="overwrite", counter=counter)
        self._counter += 1

    def _keep(self) -> None:
        while not self._stop.wait(self._length.total_seconds() / RENEWALS_PER_LEASE):
            try:
                self.renew()
            except LeaseLostError as error:
                log.error("%s", error)
                return
            except Exception:  # any store error: the next renewal may succeed, and the guard checks the expiry
                log.warning("the lease on %s was not renewed", self._collection, exc_info=True)


@contextmanager
def hold_lease(lake: Lake, collection: str, settings: Settings) -> Iterator[Lease]:
    """Yield the lease on a collection, and release it at the end of the block.

    Args:
        lake: lake with the table `leases`.
        collection: collection to be written.
        settings: length of a lease, and waiting time for another writer's lease.

    Raises:
        LeaseBusyError: another writer held it for longer than the waiting time.
    """
    lease = Lease(lake, collection, settings.lease_seconds)
    lease.take(settings.wait_seconds)
    try:
        yield lease
    finally:
        lease.release()


def read_lease_state(lake: Lake, collection: str) -> LeaseState:
    """Return the last lease of a collection.

    The counter is read before the row: if a commit falls between the two, acting on the row fails at the fence.
    """
    counter = lake.read_transaction_version("leases", _counter_name(collection))
    rows = lake.read_arrow("leases", {"collection": collection}).to_pylist()
    if not rows:
        return LeaseState(counter, 0, "", datetime.min.replace(tzinfo=UTC), released=True)
    row = rows[0]
    return LeaseState(counter, row["epoch"], row["holder"], row["expires_at"], row["released"])


def is_lease_free(state: LeaseState, margin: timedelta) -> bool:
    """Return whether a lease may be taken: it is released or expired, or its holder is dead on this host."""
    return state.released or datetime.now(UTC) > state.expires_at + margin or is_local_holder_dead(state.holder)


def find_writer(lake: Lake, collection: str, settings: Settings) -> LeaseState | None:
    """Return the lease of a collection while a writer holds it; None if it is free."""
    state = read_lease_state(lake, collection)
    margin = timedelta(seconds=settings.lease_seconds * CLOCK_MARGIN_SHARE)
    return None if is_lease_free(state, margin) else state


def make_holder_id() -> str:
    """Return a name for this process that is unique over all hosts and times."""
    return f"{_host()}:{os.getpid()}:{_read_start_time(os.getpid())}:{uuid.uuid4()}"


def is_local_holder_dead(holder: str) -> bool:
    """Return whether the holder was a process of this host that has ended; False for other hosts.

    A process with the same id but another start time is not the holder.
    """
    host, pid, start, _ = holder.rsplit(":", 3)
    return host == _host() and _read_start_time(int(pid)) != start


def describe_holder(holder: str) -> str:
    """Return a readable description of a holder."""
    host, pid, *_ = holder.rsplit(":", 3)
    return f"process {pid} on {host.split('/')[0]}"


def _host() -> str:
    """Return this host's name and process namespace; the same process id in another container is another process."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{namespace.stat().st_ino if namespace.exists() else ''}"


def _read_start_time(pid: int) -> str:
    """Return when a process started, in clock ticks since the boot (no change of the clock moves it); "" if gone."""
    if not Path("/proc/self/stat").exists():  # not Linux
        return str(psutil.Process(pid).create_time()) if psutil.pid_exists(pid) else ""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state in "ZX" else fields[18]


def _counter_name(collection: str) -> str:
    return f"lease:{collection}"
