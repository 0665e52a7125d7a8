"""Converts a shop's HTML to plain text: tags are removed and entities replaced as a browser would show them.

It uses regular expressions, because `html.parser` reads ``a <b`` differently in different Python versions, and a
content hash must not depend on the Python version.
"""

import html
import re

_BLOCK_TAGS = (
    "address|article|aside|blockquote|body|br|button|caption|center|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|"
    "form|h[1-6r]|head|header|html|iframe|img|input|label|legend|li|link|main|meta|nav|ol|option|p|picture|pre|section|"
    "select|source|summary|table|tbody|td|textarea|tfoot|th|thead|title|tr|ul|audio|video"
)
"""Tags that separate words."""
_INLINE_TAGS = (
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|mark|o:p|q|s|samp|small|span|strike|strong|sub|"
    "sup|time|tt|u|var|wbr"
)
_ATTRIBUTES = r"""(?:\s+[^\s<>=]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s<>"']+))?)*\s*/?"""

_BLOCK = re.compile(rf"</?(?:{_BLOCK_TAGS}){_ATTRIBUTES}>|<!doctype[^<>]*>", re.IGNORECASE)
_INLINE = re.compile(rf"</?(?:{_INLINE_TAGS}){_ATTRIBUTES}>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_UNSEEN = (
    (re.compile("<!--.*?-->", re.DOTALL), re.compile("-->")),
    *(
        (
            re.compile(rf"<{tag}\b[^>]*>.*?</{tag}\s*>", re.IGNORECASE | re.DOTALL),
            re.compile(rf"</{tag}\s*>", re.IGNORECASE),
        )
        for tag in ("script", "style", "noscript", "template")
    ),
)
"""Elements that browsers do not show: a pattern of the whole element, and a pattern of its end."""


def strip_html(text: str) -> str:
    """Return a text without known HTML tags, comments and scripts, with entities replaced by characters.

    ``size < 40``, ``I <3 you``, ``AT&T`` and unknown tags such as ``<brand>`` are kept.
    """
    if "<" in text:
        for whole, end in _UNSEEN:
            # Search only up to the last end: a search for a missing end would take time for every beginning.
            last = max((match.end() for match in end.finditer(text)), default=0)
            text = whole.sub(" ", text[:last]) + text[last:]
        text = _INLINE.sub("", _BLOCK.sub(" ", text))
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text) if "&" in text else text
