"""A sample of the fault harness, a few faults in every part of a night; all of them: ``make test-faults``."""

import pytest

from jobs.fault_points import HANG, RAISE
from tests.faults.case import Case
from tests.faults.one_jvm import FaultBench
from tests.faults.points import Fault

pytestmark = pytest.mark.long

SAMPLE = [
    Case(0, "pull", (Fault("commit.snapshots:after", 1, RAISE),)),
    Case(0, "validate", (Fault("commit.products:before", 1, RAISE),)),
    Case(0, "plan", (Fault("complete.model:before", 1, RAISE),)),
    Case(0, "plan", (Fault("commit.plans:before", 1, HANG),)),
    Case(0, "upsert", (Fault("milvus.upsert:before", 2, RAISE),)),
    Case(0, "upsert", (Fault("milvus.upsert:after", 1, RAISE), Fault("milvus.flush:after", 1, RAISE))),
    Case(0, "upsert", (Fault("commit.served:before", 1, RAISE),)),
    Case(0, "upsert", (Fault("commit.served:after", 1, RAISE),)),
    Case(0, "publish", (Fault("milvus.create_alias:after", 1, RAISE),)),
    Case(0, "report", (Fault("commit.runs:before", 1, RAISE),)),
]


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_a_stage_with_a_fault_is_run_again_to_the_clean_state(bench: FaultBench, case: Case) -> None:
    result = bench.try_case(case)
    assert result.fired == len(case.faults), result.ended
    assert not result.differences
