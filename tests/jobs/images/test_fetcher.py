"""Tests of the web client against a real host on loopback: every response gives a result."""

import gzip

import pytest

from jobs.images.answers import FETCHED, NOT_MODIFIED
from tests.image_host import Answer, ImageHost, draw_photo
from tests.jobs.images.photo_requests import check_failure, fetch

PHOTO = draw_photo(1)


FAILURES = {
    "silent": (Answer(seconds=2), "image_unreachable", "timeout", 1),
    "a page": (Answer(body=b"<html>log in</html>"), "image_format", "not an image", 1),
    "empty": (Answer(body=b""), "image_unreadable", "not an image", 1),
    "redirect out": (Answer(302, headers={"Location": "http://127.0.0.1:1/a.jpg"}), "image_forbidden", "forbidden", 1),
    "redirect to a file": (Answer(302, headers={"Location": "file:///etc/passwd"}), "image_forbidden", "forbidden", 1),
    "redirect loop": (Answer(302, headers={"Location": "/a.jpg"}), "image_unreachable", "redirects", 6),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_a_reason_and_a_cause(host: ImageHost, name: str) -> None:
    check_failure(host, *FAILURES[name])


def test_a_host_that_recovers_is_asked_again(host: ImageHost) -> None:
    host.answers["/busy.jpg"] = Answer(429, PHOTO, {"Retry-After": "1"}, times=1)
    host.answers["/down.jpg"] = Answer(503, PHOTO, times=2)
    assert [result.data for result in fetch(host, "/busy.jpg", "/down.jpg")] == [PHOTO, PHOTO]


def test_redirects_inside_the_roots_are_followed(host: ImageHost) -> None:
    host.answers["/old.jpg"] = Answer(301, headers={"Location": "new/../b.jpg"})
    host.answers["/b.jpg"] = Answer(body=PHOTO)
    assert fetch(host, "/old.jpg")[0].data == PHOTO


def test_a_photo_that_has_not_changed_sends_no_body(host: ImageHost) -> None:
    host.answers["/a.jpg"] = Answer(body=PHOTO)
    [first] = fetch(host, "/a.jpg")
    [second] = fetch(host, "/a.jpg", conditional={"etag": first.etag or ""})
    assert (first.outcome, second.outcome, second.data, second.etag) == (FETCHED, NOT_MODIFIED, b"", first.etag)
    assert [status for _, status in host.requests] == [200, 304]


def test_a_damaged_photo_does_not_replace_a_known_one(host: ImageHost) -> None:
    host.answers["/a.jpg"] = Answer(body=PHOTO[:-40])
    assert fetch(host, "/a.jpg")[0].outcome == FETCHED
    assert fetch(host, "/a.jpg", conditional={"is_known": True})[0].reason == "image_unreadable"


@pytest.mark.parametrize(
    "path",
    [
        "/a%2Fb.jpg", "/a%2Bb+c.jpg", "/a'b(c)!.jpg", "/a.jpg?sig=a%2Bb%3D%2F&x=%40%3A", "/a.jpg?", "/a//b.jpg",
        "/w_100/https://origin/a.jpg", "/caf%C3%A9.jpg", "/x%2ejpg/a;v=1,2.jpg", "/a%5Bb%5D.jpg", "/~u/$a&b=c@d.jpg",
    ],
)  # fmt: skip
def test_addresses_travel_exactly_as_written(host: ImageHost, path: str) -> None:
    host.answers[path] = Answer(body=PHOTO)
    assert fetch(host, path)[0].data == PHOTO
    assert host.requests == [(path, 200)]


def test_what_no_request_line_can_hold_is_encoded(host: ImageHost) -> None:
    host.answers["/caf%C3%A9%20%F0%9F%8D%B5.jpg"] = Answer(body=PHOTO)
    assert fetch(host, "/café 🍵.jpg")[0].data == PHOTO


def test_packed_bodies_are_bounded_when_they_are_unpacked(host: ImageHost) -> None:
    packed = gzip.compress(bytes(8 << 20))
    host.answers["/a.jpg"] = Answer(body=packed, headers={"Content-Encoding": "gzip"})
    assert fetch(host, "/a.jpg", max_bytes=1 << 20)[0].reason == "image_too_large"
    host.answers["/b.jpg"] = Answer(body=gzip.compress(PHOTO), headers={"Content-Encoding": "gzip"})
    assert fetch(host, "/b.jpg")[0].data == PHOTO


def test_a_host_that_fails_in_a_row_is_given_up(host: ImageHost) -> None:
    paths = [f"/{number}.jpg" for number in range(60)]
    host.answers = {path: Answer(403) for path in paths}
    results = fetch(host, *paths, give_up_after=10, connections=2)
    assert len(host.requests) < 20
    assert {result.cause for result in results} == {"403", "given up"}
    assert all(result.is_asked == (result.cause == "403") for result in results)
