"""Titles and descriptions of the demo shop, written from the facts of a product."""

from dataclasses import dataclass

import numpy as np

from demo_shop import vocabulary as words


@dataclass(frozen=True)
class TextFacts:
    """What a text may mention. `silent_about` names the fact it must not."""

    type: str
    brand: words.Brand
    colour: str
    pattern: str
    material: str
    size: str
    silent_about: str
    misleading: bool


TITLE_TEMPLATES = (
    "{brand} {adjective} {colour} {pattern} {material} {name}",
    "{adjective} {name} {brand} {line} {colour} {pattern}, {material}",
    "{name} {line}, {colour}, {pattern}, {material} – {brand}",
    "{brand} {line} {name} {material} {colour} {pattern}",
    "{colour} {pattern} {name}, {material}, {size}",
    "{material} {name} {colour} {pattern} by {brand}",
)


def pick_option(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    """Return one of the options; the first is as likely as all the others together."""
    rest = len(options) - 1
    if not rest or rng.random() < 0.5:
        return options[0]
    return options[1 + int(rng.integers(rest))]


def write_title(wording: TextFacts, rng: np.random.Generator) -> tuple[str, str]:
    """Write a title; return it with the misleading words in it ("" when it is honest)."""
    kind = words.PRODUCT_TYPES[wording.type]
    parts = {
        "name": pick_option(rng, kind.names),
        "colour": pick_option(rng, words.COLOURS[wording.colour].names),
        "pattern": pick_option(rng, words.PATTERNS[wording.pattern].names),
        "material": wording.material, "brand": wording.brand.name, "size": wording.size,
        "line": str(rng.choice(wording.brand.lines)), "adjective": str(rng.choice(words.ADJECTIVES)),
    }  # fmt: skip
    if wording.silent_about:
        parts[wording.silent_about] = ""
    order = str(rng.choice(TITLE_TEMPLATES))
    title = _tidy(order.format(**{key: _capital(value) for key, value in parts.items()}))
    misleading = _mislead(wording, rng) if wording.misleading else ""
    return (f"{title} – {misleading}" if misleading else title), misleading


def write_description(wording: TextFacts, rng: np.random.Generator) -> str:
    """Write two or three sentences on use, material and size, never on colour or pattern."""
    kind = words.PRODUCT_TYPES[wording.type]
    name = kind.names[0]
    facts = {
        "name": name, "a_name": _with_article(name), "use": str(rng.choice(kind.uses)), "brand": wording.brand.name,
        "material": wording.material, "size": wording.size,
    }  # fmt: skip
    sentences = [str(rng.choice(words.DESCRIPTION_OPENERS)), str(rng.choice(words.DESCRIPTION_MIDDLES))]
    if rng.random() < 0.6:
        sentences.append(str(rng.choice(words.DESCRIPTION_CLOSERS)))
    return " ".join(_sentence(s.format(**facts)) for s in sentences)


def _mislead(wording: TextFacts, rng: np.random.Generator) -> str:
    """Return a phrase that names another type or another colour, as sellers do to be found."""
    if rng.random() < 0.5:
        other = str(rng.choice([t for t in words.PRODUCT_TYPES if t != wording.type]))
        return str(rng.choice(words.MISLEADING_TYPES)).format(type=words.PRODUCT_TYPES[other].names[0])
    other = str(rng.choice([c for c in words.COLOURS if c != wording.colour]))
    return str(rng.choice(words.MISLEADING_COLOURS)).format(colour=_capital(other))


def _with_article(name: str) -> str:
    if name == "trousers":
        return "a pair of trousers"
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _capital(text: str) -> str:
    return text if not text or text[0].isupper() else text[0].upper() + text[1:]


def _sentence(text: str) -> str:
    return _capital(text.replace("  ", " "))


def _tidy(title: str) -> str:
    """Close the gaps that facts left out have torn: double blanks, lone commas."""
    pieces = [" ".join(piece.split()) for piece in title.split(",")]
    return ", ".join(piece for piece in pieces if piece).replace(", –", " –")
