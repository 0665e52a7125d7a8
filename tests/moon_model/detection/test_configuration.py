import json

import pytest

from moon_model.detection.configuration import CONFIG_NAME, DetectorConfig


def test_what_is_written_is_read(tmp_path):
    config = DetectorConfig(input_size=96, score_threshold=0.4)
    config.write(tmp_path)
    assert DetectorConfig.read(tmp_path) == config


def test_a_folder_without_a_detector_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"recipes\.detector\.train"):
        DetectorConfig.read(tmp_path)


def test_an_unknown_setting_is_refused(tmp_path):
    (tmp_path / CONFIG_NAME).write_text(json.dumps({"score_treshold": 0.3}))
    with pytest.raises(ValueError, match="score_treshold"):
        DetectorConfig.read(tmp_path)


@pytest.mark.parametrize(
    "values", [{"input_size": 100}, {"input_size": 0}, {"score_threshold": 1.5}, {"weights": "../other.onnx"}]
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        DetectorConfig(**values)
