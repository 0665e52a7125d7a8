import re
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from demo_shop import vocabulary as words
from demo_shop.wording import write_description, write_title
from demo_shop.world import DemoProduct, DemoWorld

ASKED = list(
    chain.from_iterable(
        entry.query_names for table in (words.PRODUCT_TYPES, words.COLOURS, words.PATTERNS) for entry in table.values()
    )
)


def wording(omitted_fact: str = "", kind: str = "armchair") -> DemoProduct:
    facts = {"type": kind, "brand": words.BRANDS[0].name, "colour": "red", "pattern": "striped", "material": "leather"}
    return replace(DemoWorld(1).get_product(0), **facts, size="80 cm wide", omitted_fact=omitted_fact)


def mentions(text: str, options: tuple[str, ...]) -> bool:
    return any(re.search(rf"\b{re.escape(option)}\b", text, re.IGNORECASE) for option in options)


@pytest.mark.parametrize("silent", ["", "colour", "pattern"])
def test_titles_tell_everything_but_what_they_are_silent_about(silent: str) -> None:
    for seed in range(40):
        title, misleading = write_title(wording(silent), False, np.random.default_rng(seed))
        assert misleading == ""
        assert mentions(title, words.COLOURS["red"].names) == (silent != "colour")
        assert mentions(title, words.PATTERNS["striped"].names) == (silent != "pattern")
        assert mentions(title, words.PRODUCT_TYPES["armchair"].names)
        assert not re.search(r",\s*[,–]|\s\s|^[,\s]|[,\s]$", title)


def test_misleading_titles_name_something_else() -> None:
    others = tuple(n for t, k in words.PRODUCT_TYPES.items() if t != "armchair" for n in k.names)
    others += tuple(c for c in words.COLOURS if c != "red")
    for seed in range(40):
        title, misleading = write_title(wording(), True, np.random.default_rng(seed))
        assert title.endswith(misleading)
        assert mentions(misleading, others)


def test_descriptions_never_tell_colour_or_pattern() -> None:
    for seed in range(60):
        text = write_description(wording(), np.random.default_rng(seed))
        assert mentions(text, ("armchair",))
        assert not mentions(text, words.COLOURS["red"].names + words.PATTERNS["striped"].names)
        assert not re.search(r"\b[Aa] armchair", text)


def test_no_title_uses_a_shoppers_word() -> None:
    for kind in words.PRODUCT_TYPES:
        for seed in range(30):
            title, _ = write_title(wording(kind=kind), seed % 2 == 0, np.random.default_rng(seed))
            assert not [word for word in ASKED if mentions(title, (word,))]
