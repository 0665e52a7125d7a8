import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.html_text import strip_html
from schemas.product import canonicalise_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>Waterproof <b>leather</b> upper</p><p>rubber sole</p>", "Waterproof leather upper rubber sole"),
        ('<div style="margin:0 > auto" class=x>a<br/>b</div>', "a b"),
        ("un<strong>believ</strong>able", "unbelievable"),
        ("<ul>\n<li>one</li><li>two</li>\n</ul>", "one two"),
        ("<style>p {color: red}</style><script>if (a < b) {}</script>text<!-- note -->", "text"),
        ("Caf&eacute; &amp; Bar&nbsp;&#8211; 5&quot; &#x1F375;", 'Café & Bar – 5" 🍵'),
        ("&lt;b&gt; is a tag", "<b> is a tag"),
        ("<IMG SRC='a.jpg'><A HREF=x>Link</A>", "Link"),
    ],
)
def test_html_becomes_what_a_browser_shows(text: str, expected: str) -> None:
    assert canonicalise_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "size < 40",
        "I <3 you",
        "AT&T",
        "C&A",
        "a<b",
        "<brand> new",
        "1 <> 2",
        "R&D; more",
        "x &unknown; y",
        "<p",
        "a > b",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert strip_html(text) == text


@given(st.text(alphabet=st.characters(exclude_characters="<&")))
def test_text_without_markup_is_never_touched(text: str) -> None:
    assert strip_html(text) == text


@given(st.text(alphabet="<>/pb&;=\"' -!a", max_size=60))
def test_any_text_is_read_in_time_and_never_grows(text: str) -> None:
    assert len(strip_html(text)) <= len(text)
