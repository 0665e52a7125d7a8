"""The paper's detector, for GPU users: Qwen2.5-VL is asked for the box of the product named by the title.

Same interface as ``ProductDetector``, plus titles. The code is tested with a tiny random checkpoint. **The quality of
its boxes is untested**, because no grounding weights were available.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2_5_VLForConditionalGeneration

from moon_model.backbones.qwen2_5_vl import build_image_processor
from moon_model.detection.configuration import DetectorConfig
from moon_model.detection.grounding_answer import AnswerError, build_grounding_prompt, parse_grounding_answer
from moon_model.detection.region import Region, is_degenerate
from moon_model.images import decode_image

_TURN = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
_AFTER_IMAGE = "<|vision_end|>"
_AFTER_PROMPT = "<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True)
class GroundingConfig:
    """Settings of the prompt's image, the answer and its use.

    Attributes:
        min_pixels: smallest photo in pixels; smaller ones are enlarged.
        max_pixels: largest photo in pixels; 28 × 28 pixels become one visual token.
        max_new_tokens: limit of an answer; one in the requested format takes about 40.
        score_threshold: mean probability of the answer's tokens below which the whole photo is used.
        limits: limits of a usable box; the fields that ``ProductDetector`` uses.
    """

    min_pixels: int = 28 * 28 * 64
    max_pixels: int = 28 * 28 * 640
    max_new_tokens: int = 96
    score_threshold: float = 0.3
    limits: DetectorConfig = DetectorConfig()  # noqa: RUF009 (frozen)


@dataclass(eq=False, repr=False)
class GroundingDetector:
    """Finds the product that a title names.

    Args:
        model: Qwen2.5-VL with its language head.
        tokenizer: the tokenizer of the same checkpoint.
        version: 16 hex digits that change with weights, tokenizer, prompt or settings.
        config: settings.
        batch_size: photos per run; prompts of a batch are padded, photos are not.
    """

    model: Qwen2_5_VLForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    version: str
    config: GroundingConfig = GroundingConfig()
    batch_size: int = 8

    def __post_init__(self) -> None:
        self._model: Any = self.model.eval()  # transformers' types do not fit its own calls
        self.provider = f"torch {self.model.device.type}"
        vision = self.model.config.vision_config
        self._images = build_image_processor(vision, self.config.min_pixels, self.config.max_pixels)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        device: str = "cuda",
        dtype: torch.dtype = torch.bfloat16,
        config: GroundingConfig | None = None,
        batch_size: int = 8,
    ) -> "GroundingDetector":
        """Load a detector from a Qwen2.5-VL checkpoint.

        Args:
            path: folder with safetensors weights and the tokenizer.
            device: torch device; torch raises an error for CUDA without a GPU.
            dtype: dtype of the weights.
            config: None: the defaults of ``GroundingConfig``.
            batch_size: photos per run.

        Raises:
            FileNotFoundError: the folder holds no safetensors weights.
        """
        folder = Path(path)
        config = config or GroundingConfig()
        version = compute_grounding_version(folder, config)
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, attn_implementation="sdpa"
        )
        model.to(torch.device(device))  # type: ignore[arg-type]  # transformers' decorator hides the signature
        return cls(model, AutoTokenizer.from_pretrained(folder), version, config, batch_size)

    def detect(self, images: Iterable[Image.Image], titles: Sequence[str] | None = None) -> list[Region]:
        """Find each photo's product.

        Args:
            images: photos, see ``ProductDetector.detect``.
            titles: one per photo, "" where there is none; None asks for the main product of every photo.

        Returns:
            One region per photo, in order; the whole image where the answer has no usable box.

        Raises:
            BadImageError: an image cannot be decoded.
            ValueError: the numbers of titles and images differ.
        """
        photos = [decode_image(image) for image in images]
        names = list(titles) if titles is not None else [""] * len(photos)
        if len(names) != len(photos):
            raise ValueError(f"{len(names)} titles for {len(photos)} images")
        regions = []
        for start in range(0, len(photos), self.batch_size):
            batch = slice(start, start + self.batch_size)
            regions += self._detect_batch(photos[batch], names[batch])
        return regions

    def _detect_batch(self, photos: list[Image.Image], titles: list[str]) -> list[Region]:
        pixels = self._images(images=photos, return_tensors="pt")
        grids: list[list[int]] = pixels["image_grid_thw"].tolist()
        answers = self._generate_answers(pixels["pixel_values"], grids, titles)
        return [
            self._read_region(answer, score, columns * self._images.patch_size, rows * self._images.patch_size)
            for (answer, score), (_, rows, columns) in zip(answers, grids, strict=True)
        ]

    def _read_region(self, answer: str, score: float, width: int, height: int) -> Region:
        try:
            box = parse_grounding_answer(answer, width, height)
        except AnswerError:
            return Region.whole_image()
        limits = self.config.limits
        if score < self.config.score_threshold or is_degenerate(box, limits.least_side, limits.most_area):
            return Region.whole_image(score)
        return Region(box, score)

    @torch.inference_mode()
    def _generate_answers(self, patches: Tensor, grids: list[list[int]], titles: list[str]) -> list[tuple[str, float]]:
        """Greedy answer for each photo, and the mean (geometric) probability of its tokens."""
        prompts = [self._build_prompt_ids(title, grid) for title, grid in zip(titles, grids, strict=True)]
        batch = self._pad_left(prompts)
        device = self.model.device
        output = self._model.generate(
            **{name: value.to(device) for name, value in batch.items()},
            pixel_values=patches.to(device, self.model.dtype),
            image_grid_thw=torch.tensor(grids, device=device),
            max_new_tokens=self.config.max_new_tokens,
            do_sample=False,
            pad_token_id=self._pad_id(),
            output_logits=True,
            return_dict_in_generate=True,
        )
        # New tokens (T of them) without the prompt, and the log probability of each.
        answers_BT = output.sequences[:, batch["input_ids"].shape[1] :]
        logits_BTV = torch.stack(output.logits, dim=1).float()
        chosen_BT = logits_BTV.log_softmax(-1).gather(-1, answers_BT[..., None])[..., 0]
        # Score of an answer: mean over its real tokens.
        real_BT = answers_BT != self._pad_id()
        scores = (chosen_BT * real_BT).sum(1).div(real_BT.sum(1).clamp(min=1)).exp()
        texts = self.tokenizer.batch_decode(answers_BT, skip_special_tokens=True)
        return list(zip(texts, scores.tolist(), strict=True))

    def _build_prompt_ids(self, title: str, grid: list[int]) -> list[int]:
        """Token ids of one conversation; special tokens written in a title, which is untrusted, stay plain text."""
        tokens = grid[0] * grid[1] * grid[2] // self._images.merge_size**2
        encode = self.tokenizer.encode
        return [
            *encode(_TURN, add_special_tokens=False),
            *[self.model.config.image_token_id] * tokens,
            *encode(_AFTER_IMAGE, add_special_tokens=False),
            *encode(build_grounding_prompt(title), add_special_tokens=False, split_special_tokens=True),
            *encode(_AFTER_PROMPT, add_special_tokens=False),
        ]

    def _pad_left(self, prompts: list[list[int]]) -> dict[str, Tensor]:
        rows = [torch.tensor(tokens) for tokens in prompts]
        ids = pad_sequence(rows, batch_first=True, padding_value=self._pad_id(), padding_side="left")
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side="left")
        image = (ids == self.model.config.image_token_id) & mask.bool()
        return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": image.int()}

    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)


def compute_grounding_version(folder: Path, config: GroundingConfig) -> str:
    """Digest of a checkpoint's weights and tokenizer, the prompt and the settings, 16 hex digits.

    Reads all bytes of the weights (some seconds for 3 billion parameters), because names and times of files say
    nothing about their content.

    Raises:
        FileNotFoundError: the folder holds no safetensors weights.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise FileNotFoundError(f"no safetensors weights in {folder}; pass a folder that holds a Qwen2.5-VL checkpoint")
    digest = hashlib.sha256(f"{config}{_TURN}{build_grounding_prompt('')}{_AFTER_PROMPT}".encode())
    for path in [folder / "config.json", *sorted(folder.glob("tokenizer*")), *weights]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
