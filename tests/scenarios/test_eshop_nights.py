"""101 real products: all are encoded once, nothing is done when nothing changed, later only the changes."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from jobs.settings import REPOSITORY
from jobs.stages.runner import RunOutcome
from tests.scenarios.nights import run_night, served_rows
from tests.scenarios.opens import opened_files

MAPPING = str(REPOSITORY / "mappings" / "eshop.toml")


@pytest.fixture(scope="module")
def eshop(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that may be changed."""
    folder = tmp_path_factory.mktemp("shop") / "eshop"
    shutil.copytree(shared_data / "eshop", folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def counts(outcome: RunOutcome) -> dict[str, int]:
    return dict(outcome.results["report"].counts)


@pytest.mark.long
def test_three_nights_of_a_real_shop(spark, make_settings, eshop: Path) -> None:
    catalog = eshop / "catalog.json"
    settings = make_settings(catalog=str(catalog), mapping=MAPPING)

    pictures = {path.name for path in (eshop / "Pics").iterdir()}
    with opened_files(eshop / "Pics") as opened:
        first = counts(run_night(spark, settings, "2026-11-20"))
        assert (first["delivered"], first["encoded"], first["quarantined"]) == (101, 101, 0)
        assert opened.take() == pictures

        again = counts(run_night(spark, settings, "2026-11-20"))
        assert (again["delivered"], again["unchanged"], again["encoded"]) == (101, 101, 0)
        next_day = counts(run_night(spark, settings, "2026-11-21"))
        assert (next_day["delivered"], next_day["unchanged"], next_day["encoded"]) == (101, 101, 0)
        assert opened.take() == set()

    products = json.loads(catalog.read_text())
    products[0]["Name"] = "Wanderer Crimson Hiking Boots"
    removed = products.pop()
    catalog.write_text(json.dumps(products))
    picture = eshop / "Pics" / f"{products[1]['Id']}.webp"
    Image.open(picture).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(picture)
    outcome = run_night(spark, settings, "2026-11-22")
    third = counts(outcome)
    assert (third["delivered"], third["encoded"], third["unchanged"], third["deleted"]) == (100, 2, 98, 1)

    served = served_rows(settings, outcome.results["report"].details["collection"])
    assert set(served) == {str(product["Id"]) for product in products}
    assert str(removed["Id"]) not in served
