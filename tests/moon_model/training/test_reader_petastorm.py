"""Tests that the petastorm reader meets the contract of all readers (``.venv-train``)."""

import pytest

pytest.importorskip("petastorm", reason="petastorm lives in .venv-train")
pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore"),  # petastorm 0.12.1 uses deprecated parts of pyarrow 14
]

from moon_model.training.reader_petastorm import PetastormPairs  # noqa: E402
from tests.moon_model.training.pair_files import ReaderContract  # noqa: E402


class TestPetastorm(ReaderContract):
    open = PetastormPairs
