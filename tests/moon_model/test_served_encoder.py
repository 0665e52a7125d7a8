"""ServedEncoder: the alias moves while a service answers."""

import time
from collections.abc import Callable, Iterator

import pytest

from moon_model.collection_contract import NothingServedError
from moon_model.served_encoder import ServedEncoder
from schemas.collection import pinned_alias
from tests.two_models import TwoModels, serve_two_models


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoModels]:
    with serve_two_models(tmp_path_factory.mktemp("served")) as found:
        yield found


def test_a_request_waits_for_the_encoder_where_the_model_before_is_gone(served: TwoModels) -> None:
    chosen = ServedEncoder(served.client)
    assert chosen.choose()[1] == served.names[0]
    pinned = pinned_alias("products", served.encoders[0].model_version)
    served.client.alter_alias(served.names[1], "products")
    served.client.drop_alias(pinned)
    try:
        encoder, name = chosen.choose()
        assert (encoder.model_version, name) == (served.encoders[1].model_version, served.names[1])
    finally:
        served.client.create_alias(served.names[0], pinned)
        served.client.alter_alias(served.names[0], "products")


def test_the_model_before_answers_while_the_new_one_cannot_be_loaded(
    served: TwoModels,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chosen = ServedEncoder(served.client, path=served.checkpoints[0])
    chosen.choose()
    served.client.alter_alias(served.names[1], "products")
    try:
        assert chosen.choose()[1] == served.names[0]
        wait_until(lambda: "cannot be loaded" in caplog.text)
        assert chosen.choose()[1] == served.names[0]
    finally:
        served.client.alter_alias(served.names[0], "products")


def test_a_service_starts_with_the_alias_that_it_is_given(served: TwoModels) -> None:
    pinned = pinned_alias("products", served.encoders[1].model_version)
    encoder, name = ServedEncoder(served.client, pinned, threads=1).choose()
    assert (encoder.model_version, name) == (served.encoders[1].model_version, served.names[1])
    with pytest.raises(NothingServedError, match="no alias 'absent'"):
        ServedEncoder(served.client, "absent").choose()


def wait_until(look: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)
