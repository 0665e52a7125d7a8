"""What the answers of a real host on loopback mean: each failure has a reason, a cause and a number of attempts."""

import pytest

from tests.image_host import Answer, ImageHost, draw_photo
from tests.jobs.images.photo_requests import check_failure, fetch

PHOTO = draw_photo(1)


FAILURES = {
    "404": (Answer(404), "image_missing", "404", 1),
    "410": (Answer(410), "image_missing", "410", 1),
    "401": (Answer(401), "image_unreachable", "401", 1),
    "403": (Answer(403), "image_unreachable", "403", 1),
    "429": (Answer(429), "image_unreachable", "429", 4),
    "429 for an hour": (Answer(429, headers={"Retry-After": "3600"}), "image_unreachable", "429", 1),
    "500": (Answer(500), "image_unreachable", "500", 4),
    "cut": (Answer(body=PHOTO, cut=100), "image_unreadable", "cut", 4),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_a_reason_and_a_cause(host: ImageHost, name: str) -> None:
    check_failure(host, *FAILURES[name])


def test_a_host_that_is_not_there(host: ImageHost) -> None:
    host.close()
    [result] = fetch(host, "/a.jpg")
    assert (result.reason, result.cause) == ("image_unreachable", "connection")


def test_signatures_stay_out_of_messages(host: ImageHost) -> None:
    host.answers["/a.jpg?sig=secret"] = Answer(403)
    assert "secret" not in fetch(host, "/a.jpg?sig=secret")[0].detail
