"""Tests of the ablation's variants: each changes one setting, and the configuration accepts all of them."""

from pathlib import Path

import pytest

from benchmarks.ablation_plan import ABLATION_VARIANTS, AblationPlan, AblationVariant
from moon_model.configuration_moon import MoonConfig
from moon_model.training.config import LossSection


@pytest.mark.parametrize("name", [name for name in ABLATION_VARIANTS if name != "full"])
def test_a_variant_changes_one_thing(name: str) -> None:
    full, one = AblationVariant(), ABLATION_VARIANTS[name]
    changed = [field for field in vars(full) if getattr(one, field) != getattr(full, field)]
    assert len(changed) == 1
    assert set(one.model) <= set(MoonConfig().to_dict())
    assert set(one.loss) <= LossSection.model_fields.keys()


def test_runs_of_other_settings_are_kept_apart(tmp_path: Path) -> None:
    def plan(steps: int) -> AblationPlan:
        roots = (tmp_path,)
        return AblationPlan(tmp_path, roots, tmp_path, tmp_path, 4, 8, steps=steps, products=20)

    assert plan(10).runs_file != plan(20).runs_file
