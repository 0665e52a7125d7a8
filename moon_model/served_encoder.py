"""ServedEncoder: an encoder for services, which follows the alias when it moves to the collection of another model."""

import logging
import threading
import time
from pathlib import Path
from typing import Any

from moon_model.collection_contract import AliasClient, NothingServedError, WrongEncoderError
from moon_model.encoder import MoonEncoder
from schemas.collection import pinned_alias

log = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
"""Time after which the encoder of a new model is tried again, if it could not be loaded."""


class ServedEncoder:
    """Gives each request an encoder and the collection that belongs to it. Threads may share it.

    Args:
        client: a ``pymilvus.MilvusClient``.
        alias: the alias for readers.
        path: folder of the checkpoint on this machine; None: see ``MoonEncoder.for_collection``.
        options: other arguments of ``MoonEncoder.for_collection``.
    """

    def __init__(
        self, client: AliasClient, alias: str = "products", *, path: str | Path | None = None, **options: Any
    ) -> None:
        self.client, self.alias = client, alias
        self._options = {"path": path, **options}
        self._encoder: MoonEncoder | None = None
        self._loading, self._retry_at = threading.Lock(), 0.0

    def choose(self) -> tuple[MoonEncoder, str]:
        """Return an encoder and the name of a collection with vectors of its model; takes two to four small requests.

        After the alias has moved to another model, the collection before answers under its pinned alias while the new
        encoder is loaded in the background. Where the pinned alias is gone, the request waits for the new encoder. A
        returned name stays valid, because a collection never changes its model.

        Raises:
            NothingServedError: the alias names no collection of MOON.
            WrongEncoderError: no encoder is loaded yet, and that of the collection cannot be.
        """
        encoder = self._encoder or self._load(None)
        while True:
            try:
                return encoder, encoder.collection(self.client, self.alias)
            except WrongEncoderError:
                pinned = pinned_alias(self.alias, encoder.model_version)
            try:
                before = encoder.collection(self.client, pinned)
            except (NothingServedError, WrongEncoderError):
                encoder = self._load(encoder)
                continue
            if not self._loading.locked() and time.monotonic() > self._retry_at:
                threading.Thread(target=self._load_behind, args=(encoder,), daemon=True).start()
            return encoder, before

    def _load(self, before: MoonEncoder | None) -> MoonEncoder:
        """Return the encoder of the alias; one thread loads it, the others wait for it."""
        with self._loading:
            if self._encoder is None or self._encoder is before:
                self._encoder = MoonEncoder.for_collection(self.client, self.alias, **self._options)
                log.info("queries are encoded with model %s", self._encoder.model_version[:12])
            return self._encoder

    def _load_behind(self, before: MoonEncoder) -> None:
        try:
            self._load(before)
        except Exception as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            log.error("the encoder of the new model cannot be loaded; the model before answers: %s", error)
