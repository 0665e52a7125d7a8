import pickle

from validation.reasons import Reason


def test_a_reason_is_its_code_and_has_a_line_of_description():
    assert Reason("empty_title") is Reason.EMPTY_TITLE
    assert f"{Reason.EMPTY_TITLE}" == Reason.EMPTY_TITLE == "empty_title"
    assert pickle.loads(pickle.dumps(Reason.IMAGE_FORMAT)) is Reason.IMAGE_FORMAT  # noqa: S301
    assert all(reason.description and len(reason.description) < 90 for reason in Reason)
    assert len({reason.description for reason in Reason}) == len(Reason)
