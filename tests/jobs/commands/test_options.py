"""Tests of the shared options: each is an option with a help text."""

import typing

import typer

from jobs.commands import options


def test_every_shared_option_teaches() -> None:
    kinds = [item for item in vars(options).values() if typing.get_origin(item) is typing.Annotated]
    assert len(kinds) >= 8
    for kind in kinds:
        (option,) = kind.__metadata__
        assert isinstance(option, typer.models.OptionInfo)
        assert option.help
