"""Prompt for a grounding model, and the parser of its answer."""

import json
import math
import re

from moon_model.detection.region import Box

DEFAULT_SUBJECT = "the main product"
"""Product named in the prompt where there is no title."""
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_MAX_TITLE_CHARACTERS = 300


class AnswerError(ValueError):
    """The model's answer has no usable box."""


def build_grounding_prompt(title: str) -> str:
    """Prompt that asks for the box of the product in the title, in the format Qwen2.5-VL was trained on.

    Args:
        title: cut to 300 characters; runs of white space become one space. Empty: the photo's main product.
    """
    name = " ".join(title.split())[:_MAX_TITLE_CHARACTERS] or DEFAULT_SUBJECT
    return (
        f'Locate the product "{name}" in this photo. Answer with its bounding box only, as JSON: '
        '[{"bbox_2d": [x1, y1, x2, y2], "label": "product"}]. Answer [] when it is not in the photo.'
    )


def parse_grounding_answer(answer: str, width: int, height: int) -> Box:
    """Box in an answer, in shares of the photo; every format but the requested one is an error.

    Args:
        answer: JSON, optionally in a code fence: a list of objects (or one object) with ``bbox_2d``. The first is used.
        width: pixels of the photo as the model got it: Qwen2.5-VL answers in pixels of its *resized* input
            (QwenLM/Qwen3-VL issues 676 and 866).
        height: as ``width``.

    Returns:
        The box; corners up to 2% outside the photo are moved to its edge.

    Raises:
        AnswerError: the answer is no JSON or an empty list, or its first box is not four finite numbers in order
            inside the photo.
    """
    # Parse the JSON, without its code fence.
    fenced = _FENCE.match(answer)
    try:
        found = json.loads(fenced.group(1) if fenced else answer)
    except (json.JSONDecodeError, RecursionError) as error:
        raise AnswerError(f"not JSON: {answer[:80]!r}") from error
    # Take the first object's box.
    items = found if isinstance(found, list) else [found]
    if not items:
        raise AnswerError("the model found no such product")
    corners = items[0].get("bbox_2d") if isinstance(items[0], dict) else None
    if not (isinstance(corners, list) and len(corners) == 4 and all(map(_is_number, corners))):
        raise AnswerError(f"no bbox_2d of four numbers: {answer[:80]!r}")
    # Convert pixels to shares and cut small overhangs.
    shares = [float(c) / side for c, side in zip(corners, (width, height) * 2, strict=True)]
    if min(shares) < -0.02 or max(shares) > 1.02:
        raise AnswerError(f"{corners} reaches outside {width}×{height} pixels")
    x0, y0, x1, y1 = (min(max(share, 0.0), 1.0) for share in shares)
    if x0 >= x1 or y0 >= y1:
        raise AnswerError(f"{corners} is empty or its corners are in the wrong order")
    return x0, y0, x1, y1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6 and math.isfinite(value)
