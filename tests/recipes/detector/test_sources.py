import pytest

from recipes.detector import sources
from recipes.detector.sources import gather_sources


def test_everything_for_training_is_gathered_and_nothing_for_measuring(fake_data, monkeypatch):
    monkeypatch.setattr(sources, "list_reviewed_photos", lambda data, held_out: [])
    monkeypatch.setattr(sources, "PROCEDURAL_CUTOUTS", 2)
    monkeypatch.setattr(sources, "REAL_CUTOUT_REPEATS", 1)
    found = gather_sources(fake_data, seed=0)
    assert len(found.cutouts) == 3 + 6 + 2  # eshop's odd ids, two thirds of the iconic photos, drawn ones
    assert [photo.path.stem for photo in found.boxed] == ["0", "1"]
    eshop = [int(photo.path.stem) for photo in found.single if photo.path.parent.name == "Pics"]
    assert eshop == [1, 3, 7]
    assert all(path.parts[-3] != "val" for path in found.backgrounds.shelves)


def test_missing_data_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="eshop"):
        gather_sources(tmp_path, seed=0)
