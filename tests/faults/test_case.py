"""Tests of the choice of cases, of the journal and of the soak's verdict; they run nothing."""

from pathlib import Path

from tests.faults.case import Result, draw_combinations, list_single_faults
from tests.faults.journal import Journal
from tests.faults.soak import Night, judge_growth

REACHED = {
    (night, stage): [(f"{stage} {n}", 1) for n in range(4)]
    for night in (0, 1)
    for stage in ("pull", "validate", "fetch", "plan", "detect", "encode", "upsert", "publish", "report")
}


def test_single_faults_are_all_points_and_a_smaller_choice_is_part_of_a_larger_one() -> None:
    everything = list_single_faults(REACHED)
    assert len({case.name for case in everything}) == 2 * 9 * 4 * 2
    assert list_single_faults(REACHED, count=20) == everything[:20]
    assert 0 < sum(case.is_whole for case in everything) < 40


def test_a_seed_repeats_its_combinations() -> None:
    assert list(draw_combinations(REACHED, 5, 6)) == list(draw_combinations(REACHED, 5, 6))
    assert list(draw_combinations(REACHED, 5, 6)) != list(draw_combinations(REACHED, 6, 6))


def test_a_journal_skips_what_passed_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "set")
    journal.add(Result("good", fired=1), 1)
    journal.add(Result("bad", fired=1, differences=["a row is missing"]), 0)
    again = Journal(tmp_path, "set")
    assert (again.has("good"), again.has("bad"), again.has("new")) == (True, False, False)
    assert not again.summarise(["good", "bad"]) and again.summarise(["good"])


def test_what_grows_night_by_night_is_told() -> None:
    flat = [Night(str(number), files=100 + number % 5) for number in range(30)]
    assert judge_growth(flat) == []
    creeping = [Night(str(number), files=100 + 10 * number) for number in range(30)]
    assert judge_growth(creeping) == ["files: at most 290 in nights 11 to 20, then 390"]
