import json
from shutil import copytree

import pytest

from jobs.errors import NightStoppedError, SchemaVersionError
from jobs.lake.storage import Storage
from jobs.lake.store import Lake, open_lake
from jobs.milvus.client import connect
from jobs.state.model_registry import choose_model, describe_checkpoint, read_registered_model, register_model
from jobs.state.model_store import store_model
from schemas.collection import (
    COLLECTION_SCHEMA_VERSION,
    PROPERTY_CHECKPOINT,
    PROPERTY_MODEL,
    PROPERTY_SCHEMA,
    build_collection_schema,
)


@pytest.fixture
def other_checkpoint(tiny_checkpoint, tmp_path):
    """The same weights with other processing: another model version."""
    folder = copytree(tiny_checkpoint, tmp_path / "other")
    settings = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps(settings | {"lowercase": False}))
    return folder


@pytest.fixture
def client(make_settings):
    """A Milvus Lite of this test."""
    with connect(make_settings()) as client:
        yield client


def serve(client, name, properties, alias="products"):
    client.create_collection(name, schema=build_collection_schema(4), properties=properties)
    client.create_alias(name, alias)


def test_a_checkpoint_is_described_by_its_files(tiny_checkpoint, other_checkpoint):
    choice = describe_checkpoint(str(tiny_checkpoint))
    assert choice.uri == str(tiny_checkpoint.resolve())
    assert (choice.dimension, choice.max_images) == (32, 2)
    assert (len(choice.model_version), len(choice.detector_version)) == (64, 16)
    assert choice.collection == f"moon_{choice.model_version[:12]}_s3"
    assert describe_checkpoint(str(tiny_checkpoint)) == choice
    assert describe_checkpoint(str(other_checkpoint)).model_version != choice.model_version


def test_the_description_is_the_encoders(tiny_checkpoint):
    from moon_model.encoder import MoonEncoder

    encoder, choice = MoonEncoder.from_pretrained(tiny_checkpoint), describe_checkpoint(str(tiny_checkpoint))
    assert encoder.model_version == choice.model_version
    assert encoder.detector.version == choice.detector_version
    assert (encoder.dim, encoder.max_images) == (choice.dimension, choice.max_images)


def test_no_checkpoint_there(tmp_path):
    with pytest.raises(NightStoppedError, match="name its folder with --model"):
        describe_checkpoint(str(tmp_path))


def test_no_detector_there(tiny_checkpoint, tmp_path):
    with pytest.raises(NightStoppedError, match="cannot be used"):
        describe_checkpoint(str(tiny_checkpoint), str(tmp_path))


def choose(settings, client):
    return choose_model(settings, client, open_lake(settings))


def test_without_an_alias_the_configured_model_is_taken(client, make_settings, tiny_checkpoint):
    assert choose(make_settings(model=str(tiny_checkpoint)), client) == describe_checkpoint(str(tiny_checkpoint))


def test_the_model_behind_the_alias_is_taken(client, make_settings, tiny_checkpoint, other_checkpoint):
    served = describe_checkpoint(str(tiny_checkpoint))
    serve(client, "collection_7", {PROPERTY_MODEL: served.model_version, PROPERTY_CHECKPOINT: served.uri})
    choice = choose(make_settings(), client)
    assert (choice.uri, choice.model_version, choice.collection) == (served.uri, served.model_version, "collection_7")
    moved = copytree(tiny_checkpoint, other_checkpoint.parent / "moved")
    assert choose(make_settings(model=str(moved)), client).uri == str(moved)  # the same files elsewhere
    with pytest.raises(NightStoppedError, match="moon rollout"):
        choose(make_settings(model=str(other_checkpoint)), client)


def test_a_served_checkpoint_that_changed_stops_the_night(client, make_settings, other_checkpoint):
    serve(client, "c", {PROPERTY_MODEL: "0" * 64, PROPERTY_CHECKPOINT: str(other_checkpoint)})
    with pytest.raises(NightStoppedError, match="has changed since"):
        choose(make_settings(), client)


def test_a_foreign_collection_behind_the_alias(client, make_settings):
    serve(client, "theirs", {})
    with pytest.raises(NightStoppedError, match="not one of ours"):
        choose(make_settings(), client)


def test_a_registered_model_is_found_until_its_files_change(make_settings, tmp_path, tiny_checkpoint, other_checkpoint):
    lake, settings = Lake(Storage(str(tmp_path / "lake"))), make_settings()
    folder = copytree(tiny_checkpoint, tmp_path / "registered")
    choice = describe_checkpoint(str(folder), collection="c")
    register_model(lake, choice)
    register_model(lake, choice)
    assert lake.read_arrow("models").num_rows == 1
    assert read_registered_model(lake, settings, choice.model_version, "c") == choice
    copytree(other_checkpoint, folder, dirs_exist_ok=True)
    with pytest.raises(NightStoppedError, match="put the files back"):
        read_registered_model(lake, settings, choice.model_version, "c")
    elsewhere = settings.replace(model=str(tiny_checkpoint))
    assert read_registered_model(lake, elsewhere, choice.model_version, "c").uri == str(tiny_checkpoint)


def test_a_folder_that_changed_is_replaced_by_the_lakes_copy(
    client, make_settings, tmp_path, tiny_checkpoint, other_checkpoint
):
    """MOON_MODEL that names the registered folder changes nothing; another folder asks for another model."""
    folder = copytree(tiny_checkpoint, tmp_path / "registered")
    served = describe_checkpoint(str(folder))
    lake = open_lake(make_settings())
    store_model(lake.storage, served.model_version, served.uri, None)
    copytree(other_checkpoint, folder, dirs_exist_ok=True)
    serve(client, "c", {PROPERTY_MODEL: served.model_version, PROPERTY_CHECKPOINT: served.uri})
    for settings in (make_settings(), make_settings(model=str(folder))):
        choice = choose(settings, client)
        assert (choice.model_version, choice.collection) == (served.model_version, "c")
        assert "_models" in choice.uri and "_models" in (choice.detector or "")
    with pytest.raises(NightStoppedError, match="moon rollout"):
        choose(make_settings(model=str(other_checkpoint)), client)


@pytest.mark.parametrize("schema_version", ["1", None])
def test_a_collection_of_an_earlier_schema_version_goes_on(
    client, make_settings, tiny_checkpoint, caplog, schema_version
):
    served = describe_checkpoint(str(tiny_checkpoint))
    name = f"moon_{served.model_version[:12]}"
    properties = {PROPERTY_MODEL: served.model_version, PROPERTY_CHECKPOINT: served.uri}
    serve(client, name, properties | ({PROPERTY_SCHEMA: schema_version} if schema_version else {}))
    with caplog.at_level("WARNING", logger="jobs.state.model_registry"):
        assert choose(make_settings(), client).collection == name
    (line,) = caplog.messages
    assert name in line and "`moon migrate` adds group_id" in line


def test_a_collection_of_a_later_schema_version_is_refused(client, make_settings, tiny_checkpoint):
    served = describe_checkpoint(str(tiny_checkpoint))
    properties = {PROPERTY_MODEL: served.model_version, PROPERTY_CHECKPOINT: served.uri, PROPERTY_SCHEMA: "9"}
    serve(client, "c_s9", properties)
    ours = COLLECTION_SCHEMA_VERSION
    with pytest.raises(SchemaVersionError, match=f"version 9, this code writes {ours}: a later release made it"):
        choose(make_settings(), client)
