"""Titles and descriptions of demo products, written from their facts."""

from typing import TYPE_CHECKING

import numpy as np

from demo_shop import vocabulary as words

if TYPE_CHECKING:
    from demo_shop.world import DemoProduct


TITLE_TEMPLATES = (
    "{brand} {adjective} {colour} {pattern} {material} {name}",
    "{adjective} {name} {brand} {line} {colour} {pattern}, {material}",
    "{name} {line}, {colour}, {pattern}, {material} – {brand}",
    "{brand} {line} {name} {material} {colour} {pattern}",
    "{colour} {pattern} {name}, {material}, {size}",
    "{material} {name} {colour} {pattern} by {brand}",
)


def pick_option(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    """Return one of the options; the first is as likely as all others together."""
    rest = len(options) - 1
    if not rest or rng.random() < 0.5:
        return options[0]
    return options[1 + int(rng.integers(rest))]


def write_title(facts: "DemoProduct", is_misleading: bool, rng: np.random.Generator) -> tuple[str, str]:
    """Return a title, and the misleading words at its end ("" if there are none).

    Args:
        facts: the product; its own texts are not used.
        is_misleading: whether the title also names a wrong type or colour.
        rng: decides the words and their order.
    """
    lines = next(brand.lines for brand in words.BRANDS if brand.name == facts.brand)
    kind = words.PRODUCT_TYPES[facts.type]
    parts = {
        "name": pick_option(rng, kind.names),
        "colour": pick_option(rng, words.COLOURS[facts.colour].names),
        "pattern": pick_option(rng, words.PATTERNS[facts.pattern].names),
        "material": facts.material, "brand": facts.brand, "size": facts.size,
        "line": str(rng.choice(lines)), "adjective": str(rng.choice(words.ADJECTIVES)),
    }  # fmt: skip
    if facts.omitted_fact:
        parts[facts.omitted_fact] = ""
    template = str(rng.choice(TITLE_TEMPLATES))
    title = _close_gaps(template.format(**{key: _capitalise(value) for key, value in parts.items()}))
    misleading = _write_misleading_phrase(facts, rng) if is_misleading else ""
    return (f"{title} – {misleading}" if misleading else title), misleading


def write_description(facts: "DemoProduct", rng: np.random.Generator) -> str:
    """Return two or three sentences on use, material and size, never on colour or pattern."""
    kind = words.PRODUCT_TYPES[facts.type]
    name = kind.names[0]
    parts = {
        "name": name, "a_name": _add_article(name), "use": str(rng.choice(kind.uses)), "brand": facts.brand,
        "material": facts.material, "size": facts.size,
    }  # fmt: skip
    sentences = [str(rng.choice(words.DESCRIPTION_OPENERS)), str(rng.choice(words.DESCRIPTION_MIDDLES))]
    if rng.random() < 0.6:
        sentences.append(str(rng.choice(words.DESCRIPTION_CLOSERS)))
    return " ".join(_capitalise(sentence.format(**parts)) for sentence in sentences)


def _write_misleading_phrase(facts: "DemoProduct", rng: np.random.Generator) -> str:
    """Return a phrase that names another type or colour, as sellers write to rank in more searches."""
    if rng.random() < 0.5:
        other = str(rng.choice([t for t in words.PRODUCT_TYPES if t != facts.type]))
        return str(rng.choice(words.MISLEADING_TYPES)).format(type=words.PRODUCT_TYPES[other].names[0])
    other = str(rng.choice([c for c in words.COLOURS if c != facts.colour]))
    return str(rng.choice(words.MISLEADING_COLOURS)).format(colour=_capitalise(other))


def _add_article(name: str) -> str:
    if name == "trousers":
        return "a pair of trousers"
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _capitalise(text: str) -> str:
    return text if not text or text[0].isupper() else text[0].upper() + text[1:]


def _close_gaps(title: str) -> str:
    """Return the title without the double spaces and commas that omitted facts leave."""
    pieces = [" ".join(piece.split()) for piece in title.split(",")]
    return ", ".join(piece for piece in pieces if piece).replace(", –", " –")
