"""Tests that the run log keeps every execution, also repeated ones."""

from jobs.state.run_log import current_operator, make_run_row, record_runs


def test_every_record_is_a_row_of_its_own(make_night) -> None:
    lake = make_night().lake
    row = make_run_row("plan", {"new": 2}, {"note": "a [b]"}, seconds=1.23456)
    for _ in range(2):
        record_runs(lake, "2026-01-02", "r1", [row])
    rows = lake.read_arrow("runs").to_pylist()
    assert len(rows) == 2
    assert {(one["date"], one["run_id"], one["stage"], one["outcome"]) for one in rows} == {
        ("2026-01-02", "r1", "plan", "success")
    }
    assert (dict(rows[0]["counts"]), dict(rows[0]["details"])) == ({"new": 2}, {"note": "a [b]"})
    assert rows[0]["seconds"] == 1.235


def test_the_operator_is_a_user_on_a_host() -> None:
    user, _, host = current_operator().partition("@")
    assert user and host
