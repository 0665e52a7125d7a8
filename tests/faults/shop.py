"""A shop of a dozen products with two nights, in which a row meets every fate that a fault may change."""

import json
from pathlib import Path
from typing import Any

from jobs.settings import Settings
from tests.image_host import ImageHost, draw_photo
from tests.jobs.tiny_model import write_tiny_checkpoint

DATES = ("2026-03-01", "2026-03-02")
COUNT = 12


class FaultShop:
    """The files of the shop: catalogues, photos and a tiny model; nothing of it changes while faults are tried.

    Args:
        folder: where they are written.
        host: serves the photos by URL.
    """

    def __init__(self, folder: Path, host: ImageHost) -> None:
        self._folder, self._host = folder, host
        self.model = folder / "model"
        photos = folder / "photos"
        photos.mkdir(parents=True)
        for number in range(COUNT + 2):
            (photos / f"{number}.jpg").write_bytes(draw_photo(100 + number))
            host.add_photo(f"/{number}.jpg", number)
        (photos / "broken.jpg").write_bytes(b"no photo")
        host.add_photo("/7b.jpg", 77)
        (folder / "mapping.toml").write_text('id = "id"\ntitle = "title"\nimages = "photos"\n')
        write_tiny_checkpoint(self.model)
        self._deliver(DATES[0], self._make_first())
        self._deliver(DATES[1], self._make_second())

    def make_settings(self, var: Path, **options: Any) -> Settings:
        """Return the settings of runs whose lake and Milvus Lite file are in a folder."""
        given: dict[str, Any] = {
            "lake": str(var / "lake"),
            "milvus": str(var / "milvus.db"),
            "catalog": str(self._folder / "{date}" / "products.jsonl"),
            "mapping": str(self._folder / "mapping.toml"),
            "model": str(self.model),
            "allowed_roots": (self._host.url, str(self._folder / "photos")),
            "max_refusals": 0.9,
            "read_seconds": 5.0,
            "milvus_retry_seconds": 5.0,
            "wait_seconds": 60.0,
            "lease_seconds": 600,  # no renewal on a slow machine, so that every run reaches the same points
            "upsert_batch_bytes": 2000,  # a few rows, so that a run sends several requests
        }
        return Settings(_env_file=None, **{**given, **options})

    def _make_first(self) -> dict[str, dict[str, Any]]:
        products = {f"p{number:02d}": self._make_product(number) for number in range(COUNT)}
        products["p11"]["photos"].append(str(self._folder / "photos" / "broken.jpg"))
        return {**products, "untitled": {"title": "", "photos": [f"{self._host.url}/0.jpg"]}}

    def _make_second(self) -> dict[str, dict[str, Any]]:
        products = self._make_first()
        products["p05"]["title"] = "A mug of another colour"  # changed
        products["p06"]["title"] = "A mug with a lid"
        products["p07"]["photos"] = [f"{self._host.url}/7b.jpg"]
        del products["p08"]  # deleted
        products["p09"]["title"] = ""  # refused, and served as before
        return {**products, "p12": self._make_product(12), "p13": self._make_product(13)}  # new

    def _make_product(self, number: int) -> dict[str, Any]:
        place = self._host.url if number % 2 else str(self._folder / "photos")
        return {"title": f"Mug number {number}", "photos": [f"{place}/{number}.jpg"]}

    def _deliver(self, date: str, products: dict[str, dict[str, Any]]) -> None:
        lines = [json.dumps({"id": name, **product}) for name, product in products.items()]
        (self._folder / date).mkdir()
        (self._folder / date / "products.jsonl").write_text("\n".join(lines))
