from jobs.catalog.delivery_judge import DeliveryJudge, PhotoVerdict, SnapshotResult
from jobs.catalog.records import ParsedRecord
from schemas.source import MappedRow, SourceMapping

MAPPING = SourceMapping.parse('id = "id"\ntitle = "name"\nimages = "image"\nsnapshot = "day"\n')


def judge_photos(row: MappedRow, is_refused: bool) -> PhotoVerdict:
    is_lost = any(image.uri.endswith("bad.jpg") for image in row.images)
    return PhotoVerdict(len(row.images), int(is_lost), is_lost)


def judge(settings, records: list[tuple[int, dict[str, object]]], mapping: SourceMapping = MAPPING, **options):
    one = DeliveryJudge(mapping, "file:///shop", ("file:///shop",), settings, judge_photos, 2)
    for number, record in records:
        one.add(number, ParsedRecord({"name": "Mug", "image": "a.jpg", **record}, None), **options)
    return one, one.finish(lambda number: number // 10)


def reasons(result: SnapshotResult) -> list[tuple[int, str]]:
    return [(refusal.source_row, refusal.reason) for refusal in result.refusals]


def test_dates_are_apart_and_rows_without_one_are_in_each(make_settings) -> None:
    days = ("2026-11-20", "20261121", "2026-11-21T23:00", "", "never")
    records = [(10 * number, {"id": "1", "day": day}) for number, day in enumerate(days)]
    one, results = judge(make_settings(), records)
    assert [result.day for result in results] == ["2026-11-21", "2026-11-20", "never"]
    assert reasons(results[0]) == [(2, "duplicate_id"), (3, "malformed_row")]
    assert reasons(results[1]) == [(3, "malformed_row")]
    assert one.count_undated() == 1
    assert [row.product_id for row in one.shown] == ["1", "1"]


def test_rows_that_come_late_are_judged_in_their_place(make_settings) -> None:
    records = [(20, {"id": "1", "image": "bad.jpg"}), (0, {"id": "1"}), (10, {"id": "2", "image": "bad.jpg"})]
    _, (result,) = judge(make_settings(), [(number, {**record, "day": "2026-11-20"}) for number, record in records])
    assert reasons(result) == [(2, "duplicate_id"), (1, "no_readable_image")]
    assert result.judged == 3


def test_rows_are_merged_at_the_end_and_a_condition_that_takes_none_stops(make_settings) -> None:
    mapping = SourceMapping.parse('title = "name"\nimages = "image"\nproduct = "id"\nwhere = "name == \'Mug\'"\n')
    records = [(0, {"id": "1", "name": ""}), (10, {"id": "2"}), (20, {"id": "1"}), (30, {"id": "3", "name": "Cup"})]
    one, (result,) = judge(make_settings(), records, mapping)
    assert (result.judged, result.merged, result.left_out, result.stops) == (2, 1, 1, ())
    assert [row.title for row in one.shown] == ["Mug", "Mug"]
    _, (result,) = judge(make_settings(), records[3:], mapping)
    assert "leaves out every row" in result.stops[0]
