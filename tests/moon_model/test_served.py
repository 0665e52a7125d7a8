"""The former module name still gives the same classes, for one release."""

from moon_model import collection_contract, served


def test_the_former_name_forwards() -> None:
    for name in served.__all__:
        assert getattr(served, name) is getattr(collection_contract, name)
