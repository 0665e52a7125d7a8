"""Everything a training run depends on, in one TOML file (``configs/*.toml``); unknown or impossible values are errors.

Defaults are ours where the paper is silent (reference/paper.md, "Training"). Paths are relative to the folder the
command is started in.
"""

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class ConfigError(ValueError):
    """The configuration file cannot be used; the message names every field at fault."""


class Section(BaseModel):
    """A table of the file; a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(Section):
    """The model that training starts from.

    Attributes:
        path: a saved MoonModel, or a Qwen2.5-VL checkpoint (folder or hub id) to build one on.
        settings: ``MoonConfig`` fields for a model built on a Qwen2.5-VL checkpoint.
        frozen: parts that are not trained, as prefixes of parameter names (``backbone.vision``).
        dtype: of weights that are not trained; trained ones are float32.
        gradient_checkpointing: recompute layers in the backward pass instead of keeping them.
        bypass_layers: leave the decoder's layers out: token embeddings and projector alone learn, twenty times faster.
            The layers must be frozen.
        amplify: multiplies what enters the decoder before training starts (compact backbone). Layers read normed
            states and the output is normed, so what they write, and each step of it, merely becomes so much softer
            beside it: for layers that join embeddings which learned without them.
        cache: folder for the features of a frozen compact vision tower; None: computed anew every time.
        lora_rank: peft's LoRA on ``lora_targets``; None: none.
        lora_alpha: its scale.
        lora_targets: regular expression over module names (``peft`` syntax).
        full: parts trained in full beside LoRA, as regular expressions found in parameter names.
    """

    path: str = "checkpoints/moon-tiny"
    settings: dict[str, Any] = Field(default_factory=dict)
    frozen: list[str] = Field(default_factory=list)
    dtype: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    bypass_layers: bool = False
    amplify: float = Field(default=1.0, gt=0)
    cache: Path | None = None
    lora_rank: int | None = Field(default=None, ge=1)
    lora_alpha: int = Field(default=32, ge=1)
    lora_targets: str = r".*\.(q_proj|k_proj|v_proj|o_proj)"
    full: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _frozen_is_consistent(self) -> Self:
        if self.cache is not None and "backbone.vision" not in self.frozen:
            raise ValueError('cache keeps features of a frozen tower: add "backbone.vision" to frozen, or remove cache')
        if self.bypass_layers and "backbone.decoder.layers" not in self.frozen:
            raise ValueError('bypass_layers trains no layer: add "backbone.decoder.layers" to frozen')
        return self


class DataSection(Section):
    """The pairs (``moon make-pairs``).

    Attributes:
        pairs: folder with ``manifest.json``.
        image_roots: folders that images may be read from; relative image paths are looked up in the first.
        reader: "petastorm", "arrow", or "auto": petastorm where it is installed.
        batch_size: pairs a step and process.
        hard_negatives: of each pair, at most so many.
        verify: compare the files' digests with the manifest before the first step.
    """

    pairs: Path
    image_roots: list[Path] = Field(min_length=1)
    reader: Literal["auto", "petastorm", "arrow"] = "auto"
    batch_size: int = Field(default=32, ge=2)
    hard_negatives: int = Field(default=2, ge=0)
    verify: bool = True


class LossSection(Section):
    """InfoNCE and its negatives; the paper's three kinds can be switched off one by one for the ablation.

    Attributes:
        temperature: as the neighbouring models.
        learn_temperature: let training move it.
        margin: score mask (Qwen3-VL-Embedding: 0.1); absent in TOML keeps 0.1, a negative value switches it off.
        spatial: count the items of other processes.
        queue_size: items kept of past steps (temporal negatives); 0 switches them off.
        queue_age: steps after which an item no longer counts.
        queue_warm_up: steps before the queue counts.
    """

    temperature: float = Field(default=0.02, gt=0, le=0.5)
    learn_temperature: bool = False
    margin: float = Field(default=0.1, le=2)
    spatial: bool = True
    queue_size: int = Field(default=4096, ge=0)
    queue_age: int = Field(default=100, ge=1)
    queue_warm_up: int = Field(default=50, ge=0)


class TeacherSection(Section):
    """The first stage of the compact model, and the regulariser of the second (``teachers.py``, ``anchors.py``).

    Attributes:
        corpora: folder written by ``recipes.moon_tiny.corpora`` (texts, photos, photo–text pairs).
        texts: texts a step that are led to all-MiniLM-L6-v2's vectors; 0: none.
        images: photos a step that are led to the vectors of both teachers; 0: none.
        aligned: photo–text pairs a step; 0: none.
        labelled: products of each facet a step that are told from all its labels (``labels.py``); 0: none.
        weight: of the contrasts with texts and labels, against a contrast with purchases of weight 1.
        anchor_weight: of the distance to the teachers' vectors, a loss ten times smaller than a contrast's.
        temperature: of the contrasts of photos with texts and of products with labels.
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
    def _something_to_do(self) -> Self:
        if not (self.texts or self.images or self.aligned or self.labelled):
            raise ValueError("texts, images, aligned and labelled are all 0: leave [teachers] out instead")
        return self


class OptimiserSection(Section):
    """AdamW with warm-up and cosine.

    Attributes:
        learning_rate: at its highest.
        weight_decay: of matrices; vectors have none.
        warm_up: share of the steps.
        final: learning rate at the end, as a share of the highest.
        clip: largest gradient norm.
        betas: of Adam.
    """

    learning_rate: float = Field(default=1e-5, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    final: float = Field(default=0.05, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)


class RunSection(Section):
    """Length and bookkeeping.

    Attributes:
        out: folder of checkpoints, logs and the finished model.
        steps: length of the schedule.
        chunk: products embedded at a time (GradCache): memory, not results, depends on it.
        precision: "bf16" computes in bfloat16 (autocast), "no" in float32.
        log_every: steps between two lines of the log.
        save_every: steps between two checkpoints.
        keep: checkpoints kept.
        workers: threads that decode and resize ahead.
        keep_photos: photos kept in memory ready to use (about 0.3 MB each), of the pairs and of the teachers.
    """

    out: Path
    steps: int = Field(ge=1)
    chunk: int = Field(default=32, ge=1)
    precision: Literal["no", "bf16"] = "no"
    log_every: int = Field(default=10, ge=1)
    save_every: int = Field(default=500, ge=1)
    keep: int = Field(default=2, ge=1)
    workers: int = Field(default=2, ge=1)
    keep_photos: int = Field(default=0, ge=0)


class TrainingConfig(Section):
    """A training run.

    Attributes:
        seed: of everything drawn by chance.
        data: pairs to contrast; None: teachers alone (the first stage).
        teachers: None: contrast alone.
    """

    seed: int = Field(default=0, ge=0)
    model: ModelSection = Field(default_factory=ModelSection)
    data: DataSection | None = None
    loss: LossSection = Field(default_factory=LossSection)
    teachers: TeacherSection | None = None
    optimiser: OptimiserSection = Field(default_factory=OptimiserSection)
    run: RunSection

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.data is None and self.teachers is None:
            raise ValueError("nothing to learn from: the file needs a [data] or a [teachers] table")
        if self.model.dtype == "bfloat16" and self.run.precision == "no":
            raise ValueError('bfloat16 weights need run.precision = "bf16"')
        return self

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a TOML file.

        Raises:
            ConfigError: it is missing, no TOML, or has fields at fault; the message names them all.
        """
        path = Path(path)
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ConfigError(f"no such file: {path}; configs/ holds examples") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{path}: " + "; ".join(_plain(one) for one in error.errors())) from error


def _plain(error: Any) -> str:
    """One fault in plain words: where, what, and what was written."""
    place = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        return f"{place} is no known setting (misspelt?)"
    if error["type"] == "missing":
        return f"{place} is missing"
    said = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{place}: {said}"
    return f"{place}: {said[0].lower()}{said[1:]}, not {error['input']!r}"
