import json

import pytest

from moon_model.detection.detector import ProductDetector
from moon_model.detection.region import Region
from recipes.detector import evaluate
from recipes.detector.boxed import BoxedPhoto, list_fridges
from recipes.detector.composite import CORE_DOMINANCE, LabelledBox
from recipes.detector.evaluate import BoxFit, main, measure_fit, measure_product_share, render_fits

BOX = (0.2, 0.2, 0.6, 0.6)


def test_measuring_counts_overlaps_and_fallbacks():
    regions = [Region(BOX, 0.9), Region((0.2, 0.2, 0.6, 0.45), 0.8), Region.whole_image()]
    fit = measure_fit("ours", regions, [BOX] * 3)
    assert fit.mean_iou == pytest.approx((1 + 0.625 + 0.16) / 3)
    assert (fit.recall_50, fit.recall_75, fit.whole_image) == pytest.approx((2 / 3, 1 / 3, 1 / 3))


@pytest.mark.parametrize(("regions", "truth"), [([], []), ([Region.whole_image()], [BOX, BOX])])
def test_counts_must_match(regions, truth):
    with pytest.raises(ValueError, match="regions for"):
        measure_fit("ours", regions, truth)


def test_any_real_product_counts_as_found(fake_data, small_detector_dir, monkeypatch):
    detector = ProductDetector.from_pretrained(small_detector_dir)
    photos = list_fridges(fake_data / "product_boxes", held_out=True)
    boxes = iter([(0.1, 0.1, 0.3, 0.3), (0.5, 0.5, 0.9, 0.8), *[(0.0, 0.9, 0.1, 1.0)] * 4])
    monkeypatch.setattr(detector, "detect_candidates", lambda images, k: [[Region(next(boxes), 0.5)] for _ in images])
    assert measure_product_share(detector, photos)["one_real_product"] == pytest.approx(2 / 6)


def test_the_table_has_a_row_a_method():
    lines = render_fits(
        [BoxFit("ours", 10, 0.8123, 0.95, 0.7, 0.01), BoxFit("centre crop", 10, 0.4, 0.3, 0.0, 0.0)]
    ).splitlines()
    assert len(lines) == 4
    assert "| ours | 0.812 | 0.950 | 0.700 | 1.0% |" in lines


def test_the_command_prints_tables_and_writes_json(fake_data, small_detector_dir, tmp_path, capsys, monkeypatch):
    natural = BoxedPhoto(fake_data / "clothing" / "images" / "0.jpg", (LabelledBox(BOX, CORE_DOMINANCE),))
    monkeypatch.setattr(evaluate, "list_reviewed_photos", lambda data, held_out: [natural])
    out = tmp_path / "results" / "detector.json"
    arguments = ["--data", fake_data, "--detector", small_detector_dir, "--scenes", 4, "--json", out]
    assert main([str(argument) for argument in arguments]) == 0
    printed = capsys.readouterr().out
    assert "Held-out composites (4 photos)" in printed and "saliency" in printed
    figures = json.loads(out.read_text())
    assert len(figures["scenes"]) == 4
    assert figures["session_ms"] > 0
    assert set(figures["by_ground"]) == {"clothing", "shelves"}
