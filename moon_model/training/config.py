"""The settings of a training run, read from one TOML file (``configs/*.toml``) and validated.

Where the paper gives no value the defaults are ours (docs/paper.md, "Training"). Relative paths start at the working
directory of the command.
"""

import tomllib
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class ConfigError(ValueError):
    """The settings cannot be used; the message names every wrong field."""


class Section(BaseModel):
    """A table of the file, or another stored document. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(Section):
    """The model that training starts from, and which of its parameters are trained.

    Attributes:
        path: a saved MoonModel, or a Qwen2.5-VL checkpoint (folder or hub id) to build one on.
        settings: ``MoonConfig`` fields for a model built on a Qwen2.5-VL checkpoint.
        frozen: prefixes of the names of parameters that are not trained (``backbone.vision``).
        dtype: data type of the weights that are not trained. Trained weights are float32.
        gradient_checkpointing: recompute activations in the backward pass instead of storing them.
        bypass_layers: leave out the decoder's layers, so that only token embeddings and projector are trained, about
            twenty times faster on a CPU. The layers must be frozen.
        amplify: factor on the decoder's inputs, applied once before training (compact backbone). Each layer
            normalises its input, and the output is normalised, so the factor reduces the layers' share of the hidden
            states. For layers that are added to embeddings which were trained without them.
        cache: folder for features of a frozen compact vision tower. None: features are computed at every step.
        lora_rank: rank of peft's LoRA on ``lora_targets``. None: no LoRA.
        lora_alpha: scale of LoRA.
        lora_targets: regular expression for module names (``peft`` syntax).
        full: regular expressions searched in parameter names; matching parameters are trained in full with LoRA.
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
    def _check_frozen(self) -> Self:
        if self.cache is not None and "backbone.vision" not in self.frozen:
            raise ValueError('cache keeps features of a frozen tower: add "backbone.vision" to frozen, or remove cache')
        if self.bypass_layers and "backbone.decoder.layers" not in self.frozen:
            raise ValueError('bypass_layers trains no layer: add "backbone.decoder.layers" to frozen')
        return self


class DataSection(Section):
    """The training pairs that ``moon make-pairs`` wrote.

    Attributes:
        pairs: folder with ``manifest.json``.
        image_roots: folders from which images may be read. Relative image paths start at the first.
        reader: "petastorm", "arrow", or "auto": petastorm if it is installed.
        batch_size: pairs per step and process.
        hard_negatives: maximum number of hard negatives of a pair.
        verify: compare the digests of all files with the manifest before the first step.
    """

    pairs: Path
    image_roots: list[Path] = Field(min_length=1)
    reader: Literal["auto", "petastorm", "arrow"] = "auto"
    batch_size: int = Field(default=32, ge=2)
    hard_negatives: int = Field(default=2, ge=0)
    verify: bool = True


class LossSection(Section):
    """InfoNCE and its negatives. Each of the paper's three kinds can be switched off, for the ablation.

    Attributes:
        temperature: divisor of the cosine similarities; 0.02 as in related models.
        learn_temperature: whether the temperature is a trained parameter.
        margin: a negative that scores higher than the positive by more than this is masked (0.1 as in
            Qwen3-VL-Embedding). A negative value switches the mask off.
        spatial: whether items of other processes are negatives.
        queue_size: items of past steps that are kept as temporal negatives; 0: none.
        queue_age: maximum age in steps of a temporal negative.
        queue_warm_up: first step at which the queue is used.
    """

    temperature: float = Field(default=0.02, gt=0, le=0.5)
    learn_temperature: bool = False
    margin: float = Field(default=0.1, le=2)
    spatial: bool = True
    queue_size: int = Field(default=4096, ge=0)
    queue_age: int = Field(default=100, ge=1)
    queue_warm_up: int = Field(default=50, ge=0)


class OptimiserSection(Section):
    """AdamW with linear warm-up and cosine decay of the learning rate.

    Attributes:
        learning_rate: peak learning rate.
        weight_decay: decay of matrices; vectors and scalars have none.
        warm_up: warm-up as a share of all steps.
        final: learning rate of the last step as a share of the peak.
        clip: maximum norm of the gradient.
        betas: Adam's decay rates of the two moments.
    """

    learning_rate: float = Field(default=1e-5, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    final: float = Field(default=0.05, ge=0, le=1)
    clip: float = Field(default=1.0, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)


class RunSection(Section):
    """Length of a run, its folder, checkpoints and log.

    Attributes:
        out: folder of checkpoints, logs and the finished model.
        steps: number of steps of the schedule.
        chunk: products per forward pass (GradCache). Memory depends on it, results do not.
        precision: "bf16" computes in bfloat16 (autocast), "no" in float32.
        log_every: steps between two entries of TensorBoard and the progress log.
        save_every: steps between two checkpoints.
        keep: number of checkpoints that are kept.
        workers: threads that decode and resize images of the next step.
        keep_photos: number of prepared photos kept in memory, about 0.3 MB each, for each set of examples.
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
    """All settings of a training run. A recipe with objectives of its own extends this class by its tables.

    Attributes:
        seed: seed of all random draws.
        data: pairs for the contrastive objective. None is for recipes whose other objectives are enough.
        changeable: dotted names of the settings that may differ when a run is resumed: paths, memory, logging.
    """

    changeable: ClassVar[frozenset[str]] = frozenset({
        "run.out", "run.log_every", "run.save_every", "run.keep", "run.keep_photos", "run.chunk", "run.workers",
        "data.verify", "data.image_roots", "model.path", "model.cache", "model.gradient_checkpointing",
    })  # fmt: skip

    seed: int = Field(default=0, ge=0)
    model: ModelSection = Field(default_factory=ModelSection)
    data: DataSection | None = None
    loss: LossSection = Field(default_factory=LossSection)
    optimiser: OptimiserSection = Field(default_factory=OptimiserSection)
    run: RunSection

    @model_validator(mode="after")
    def _check_precision(self) -> Self:
        if self.model.dtype == "bfloat16" and self.run.precision == "no":
            raise ValueError('bfloat16 weights need run.precision = "bf16"')
        return self

    @model_validator(mode="after")
    def _check_objectives(self) -> Self:
        if self.data is None:
            raise ValueError("nothing to learn from: the file needs a [data] table")
        return self

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Return the settings of a TOML file.

        Raises:
            ConfigError: the file is missing, is not TOML, or has wrong fields; the message names all of them.
        """
        path = Path(path)
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ConfigError(f"no such file: {path}; configs/ holds examples") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        if "teachers" in values and "teachers" not in cls.model_fields:
            raise ConfigError(
                f"{path} has a [teachers] table, which belongs to the recipe of moon-tiny; train with: "
                f"python -m recipes.moon_tiny.train --config {path}"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{path}: " + "; ".join(map(_describe_error, error.errors()))) from error


def _describe_error(error: Any) -> str:
    """Return field, fault and value of a pydantic error."""
    field = ".".join(str(part) for part in error["loc"]) or "the file"
    msg = error["msg"].removeprefix("Value error, ")
    known = {"extra_forbidden": " is no known setting (misspelt?)", "missing": " is missing", "value_error": f": {msg}"}
    return field + known.get(error["type"], f": {msg[0].lower()}{msg[1:]}, not {error['input']!r}")
