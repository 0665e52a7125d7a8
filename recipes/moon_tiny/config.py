"""The settings of moon-tiny's training stages: those of the library's trainer and the ``teachers`` table."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from moon_model.training.config import Section, TrainingConfig


class TeacherSection(Section):
    """Settings of the objectives in addition to purchases (docs/decisions/0025-distillation-targets.md).

    Attributes:
        corpora: folder that ``recipes.moon_tiny.corpora`` wrote.
        texts: texts per step that are distilled from the text teacher; 0: none.
        images: photos per step that are distilled from both teachers; 0: none.
        aligned: photo-text pairs per step that are contrasted; 0: none.
        labelled: products per step and facet that are classified among all labels of the facet; 0: none.
        weight: weight of the alignment and label losses; the contrast on purchases has weight 1.
        anchor_weight: weight of the distillation losses, whose values are about ten times smaller.
        temperature: temperature of the alignment and label losses.
    """

    corpora: Path
    texts: int = Field(default=64, ge=0)
    images: int = Field(default=32, ge=0)
    aligned: int = Field(default=48, ge=0)
    labelled: int = Field(default=0, ge=0)
    weight: float = Field(default=1.0, gt=0)
    anchor_weight: float = Field(default=10.0, gt=0)
    temperature: float = Field(default=0.05, gt=0, le=1)

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if not (self.texts or self.images or self.aligned or self.labelled):
            raise ValueError("texts, images, aligned and labelled are all 0: train without [teachers], by `moon train`")
        return self


class DistillationConfig(TrainingConfig):
    """All settings of a training stage. Without ``data`` the stage only distils, like moon-tiny's first stage."""

    changeable: ClassVar[frozenset[str]] = TrainingConfig.changeable | {"teachers.corpora"}

    teachers: TeacherSection

    @model_validator(mode="after")
    def _check_objectives(self) -> Self:  # the teachers' objectives are enough
        return self
