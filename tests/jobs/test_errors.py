"""Every expected failure is a MoonError, so that the command line shows its message alone."""

import inspect

from jobs import errors


def test_all_errors_share_the_base() -> None:
    classes = [item for _, item in inspect.getmembers(errors, inspect.isclass)]
    assert len(classes) > 3
    assert all(issubclass(item, errors.MoonError) for item in classes)
