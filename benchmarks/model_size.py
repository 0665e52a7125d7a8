"""Parameter counts of a MOON model with the shape of Qwen2.5-VL-3B, and its encoding speed on a GPU.

The counts are computed on the meta device, which takes no memory: all parameters, and those activated for one token.
``--device cuda`` also measures a model with random weights on products with 1 and 3 images, each with its crop,
448 x 448 pixels per view: products per second, memory, and FLOP/s as a share of a large matmul's on the same device.

    python benchmarks/model_size.py                    # size only
    python benchmarks/model_size.py --device cuda      # size and speed
    python benchmarks/model_size.py --shape tiny --device cpu --batch-sizes 2   # a quick test of the speed part
"""

import argparse
import json
import platform
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.benchmark import Timer
from transformers import Qwen2_5_VLConfig

from moon_model.configuration_moon import MoonConfig, Segment
from moon_model.modeling_moon import MoonModel

_RESULTS = Path(__file__).resolve().parent / "results"
TEXT_TOKENS = ((Segment.TITLE, 48), (Segment.CATEGORY, 16), (Segment.ATTRIBUTE, 48))
MROPE = {"rope_type": "default", "rope_theta": 1e6}
MODEL_SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-vl-3b": {  # config.json of Qwen/Qwen2.5-VL-3B-Instruct
        "text_config": {
            "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
            "num_attention_heads": 16, "num_key_value_heads": 2, "max_position_embeddings": 128000,
            "rms_norm_eps": 1e-6, "rope_parameters": {**MROPE, "mrope_section": [16, 24, 24]},
        },
        "vision_config": {
            "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048,
            "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112,
        },
    },
    "tiny": {
        "text_config": {
            "vocab_size": 151936, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2,
            "rope_parameters": {**MROPE, "mrope_section": [2, 3, 3]},
        },
        "vision_config": {
            "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "out_hidden_size": 64,
            "fullatt_block_indexes": [1], "window_size": 112,
        },
    },
}  # fmt: skip


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters by part; ``activated_*`` counts those that compute one token of that kind."""

    total: int
    vision: int
    embedding: int
    dense_decoder: int
    experts: int
    router: int
    activated_routed_token: int
    activated_guided_token: int
    dense_base: int


@dataclass(frozen=True)
class BatchSpeed:
    """Speed at one batch size; FLOPs are those of the matrix products, without padding."""

    images: int
    batch_size: int
    tokens_per_product: int
    products_per_s: float
    gflop_per_product: float
    tflop_per_s: float
    share_of_matmul_peak: float
    peak_memory_gib: float | None


def measure_size(config: MoonConfig) -> ParameterCounts:
    """Return the parameter counts of a model, which is built on the meta device."""
    model = _build_meta_model(config)
    moes = model.moe_layers()
    numel = {name: weight.numel() for name, weight in model.named_parameters()}
    total = sum(numel.values())
    vision = sum(size for name, size in numel.items() if ".visual." in name)
    embedding = numel["backbone.decoder.embed_tokens.weight"]
    experts = sum(moe.gate_up_proj.numel() + moe.down_proj.numel() for moe in moes)
    router = sum(moe.router.weight.numel() for moe in moes)
    one = experts // config.num_experts  # one expert of every MoE layer
    dense = total - vision - embedding - experts - router
    return ParameterCounts(
        total=total, vision=vision, embedding=embedding, dense_decoder=dense, experts=experts, router=router,
        activated_routed_token=dense + router + one * config.num_experts_per_token,
        activated_guided_token=dense + router + one, dense_base=total - router - experts + one,
    )  # fmt: skip


def build_batch(config: MoonConfig, images: int, batch_size: int, device: str) -> dict[str, torch.Tensor]:
    """Return a batch of random products of one length: views and crops of 32 x 32 patches, then text.

    Args:
        config: the model's configuration.
        images: images per product; each is one view and one crop.
        batch_size: products in the batch.
        device: device of the tensors.
    """
    base = config.base_config
    side = round(config.max_pixels**0.5) // base.vision_config.patch_size  # type: ignore[union-attr]
    ids: list[int] = []
    segments: list[int] = []
    for view in range(2 * images):
        ids += [base.vision_start_token_id, *[config.image_token_id] * (side**2 // 4), base.vision_end_token_id]  # type: ignore[union-attr]
        segments += [Segment.NONE, *[(Segment.IMAGE, Segment.CROP)[view % 2]] * (side**2 // 4), Segment.NONE]
    for segment, length in TEXT_TOKENS:
        ids += torch.randint(1000, 100_000, (length,)).tolist()
        segments += [segment] * length
    input_ids = torch.tensor([ids], device=device).repeat(batch_size, 1)
    views = 2 * images * batch_size
    return {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "segment_ids": torch.tensor([segments], device=device).repeat(batch_size, 1),
        "pixel_values": torch.randn(views * side**2, 3 * 2 * 14 * 14, device=device),
        "image_grid_thw": torch.tensor([[1, side, side]] * views, device=device),
    }


def count_flop_per_product(config: MoonConfig, size: ParameterCounts, batch: dict[str, torch.Tensor]) -> float:
    """Return the matrix-product FLOPs of one product of a batch.

    A token counts 2 per weight, a pair of tokens that attend to each other 4 · hidden size per layer.
    """
    text = config.text_config
    vision = config.base_config.vision_config  # type: ignore[union-attr]
    segments = batch["segment_ids"][0]
    guided = int(((segments == Segment.CATEGORY) | (segments == Segment.ATTRIBUTE)).sum())
    routed = len(segments) - guided
    decoder = 2 * (routed * size.activated_routed_token + guided * size.activated_guided_token)
    pairs = len(segments) ** 2 * (0.5 if config.attention_mask_type == "causal" else 1.0)
    decoder += 4 * text.hidden_size * pairs * text.num_hidden_layers
    patches = int(batch["image_grid_thw"][0].prod())
    views = len(batch["image_grid_thw"]) // len(batch["input_ids"])
    window = (vision.window_size // vision.patch_size) ** 2
    full = len(vision.fullatt_block_indexes)
    seen = patches * (full * patches + (vision.depth - full) * window)
    merger = sum(w.numel() for n, w in _build_meta_model(config).named_parameters() if ".visual.merger.mlp" in n)
    tower = 2 * patches * (size.vision - merger) + 2 * patches // 4 * merger + 4 * vision.hidden_size * seen
    return decoder + views * tower


def _build_meta_model(config: MoonConfig) -> MoonModel:
    with torch.device("meta"):
        return MoonModel(config)


def measure_seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the mean seconds of a call after two warm-up calls; pending work of a GPU is awaited."""
    timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
    return float(timer.timeit(repeats).mean)


def measure_matmul_peak(device: str, dtype: torch.dtype) -> float:
    """Return TFLOP/s of a large square matrix product, with side 8192 on a GPU and 1024 elsewhere."""
    side = 8192 if device.startswith("cuda") else 1024
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    return 2 * side**3 / measure_seconds(lambda: a @ b, 20) / 1e12


def measure_speed(
    config: MoonConfig, size: ParameterCounts, device: str, batch_sizes: list[int], peak: float
) -> list[BatchSpeed]:
    """Return the speed with 1 and 3 images per product at each batch size.

    A batch size that does not fit into memory ends the series for that number of images; a line on stderr reports it.

    Args:
        config: the model's configuration.
        size: its parameter counts.
        device: device to measure on.
        batch_sizes: products per batch, ascending.
        peak: TFLOP/s of `measure_matmul_peak`.
    """
    model = build_model(config, device)
    rows = []
    for images in (1, 3):
        for batch_size in batch_sizes:
            batch = build_batch(config, images, batch_size, device)
            flop = count_flop_per_product(config, size, batch)
            if device.startswith("cuda"):
                torch.cuda.reset_peak_memory_stats()
            try:
                with torch.inference_mode():
                    took = measure_seconds(lambda batch=batch: model(**batch), 5)  # type: ignore[misc]
            except torch.OutOfMemoryError:
                print(f"{images} images, batch {batch_size}: out of memory", file=sys.stderr)
                break
            memory = torch.cuda.max_memory_allocated() / 2**30 if device.startswith("cuda") else None
            rate = batch_size / took
            tflops = flop * rate / 1e12
            tokens = batch["input_ids"].shape[1]
            rows.append(BatchSpeed(images, batch_size, tokens, rate, flop / 1e9, tflops, tflops / peak, memory))
    return rows


def build_model(config: MoonConfig, device: str) -> MoonModel:
    """Return a model with random bfloat16 weights, built on the device itself."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return MoonModel(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)


def render_size_report(result: dict[str, Any]) -> str:
    """Return the result as a Markdown page."""
    config = result["config"]
    lines = [
        f"# MOON at real size ({result['shape']})", "",
        f"`{result['command']}` · {result['date']} · {result['device']} · torch {result['torch']}, transformers "
        f"{result['transformers']}", "",
        f"N = {config['num_experts']} experts (top-{config['top_k']} of {config['num_experts'] - 2} general, FFN_cate, "
        f"FFN_attr) of width {config['expert_width']} in layers {config['moe_layers']}.", "",
        "| parameters | millions |", "|---|---:|",
        *[f"| {name.replace('_', ' ')} | {value / 1e6:,.1f} |" for name, value in result["size"].items()], "",
    ]  # fmt: skip
    if not result["speed"]:
        lines += ["Products per second, memory and share of the matmul peak **await a GPU**: run with `--device cuda`."]
        return "\n".join(lines) + "\n"
    lines += [
        f"Large matmul, bfloat16: {result['matmul_peak_tflop_per_s']:.1f} TFLOP/s in the same run.", "",
        "| images | batch | tokens | products/s | GFLOP/product | TFLOP/s | share of peak | memory GiB |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for row in (BatchSpeed(**fields) for fields in result["speed"]):
        memory = "–" if row.peak_memory_gib is None else f"{row.peak_memory_gib:.1f}"
        lines.append(
            f"| {row.images} | {row.batch_size} | {row.tokens_per_product} | {row.products_per_s:.2f} "
            f"| {row.gflop_per_product:,.0f} | {row.tflop_per_s:.2f} | {row.share_of_matmul_peak:.0%} | {memory} |"
        )
    return "\n".join(lines) + "\n"


def parse_arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=MODEL_SHAPES, default="qwen2.5-vl-3b")
    parser.add_argument("--num-experts", type=int, default=MoonConfig.num_experts, help="N, with FFN_cate and FFN_attr")
    parser.add_argument("--top-k", type=int, default=MoonConfig.num_experts_per_token)
    parser.add_argument("--moe-layers", type=int, nargs="*", help="default: every fourth layer, the last included")
    parser.add_argument("--device", help="cuda or cpu: measure the speed too (default: counts only)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--out", type=Path, default=_RESULTS, help="folder of model_size.json and .md")
    return parser.parse_args()


def main() -> None:
    """Measure, write ``model_size.json`` and ``model_size.md``, and print the latter."""
    options = parse_arguments()
    config = MoonConfig(
        base_config=Qwen2_5_VLConfig(**MODEL_SHAPES[options.shape]),
        num_experts=options.num_experts,
        num_experts_per_token=options.top_k,
        moe_layers=options.moe_layers,
    )
    size = measure_size(config)
    speed: list[BatchSpeed] = []
    peak = None
    if options.device:
        peak = measure_matmul_peak(options.device, torch.bfloat16)
        speed = measure_speed(config, size, options.device, options.batch_sizes, peak)
    on_gpu = (options.device or "").startswith("cuda")
    result = {
        "command": shlex.join(["python", "benchmarks/model_size.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name() if on_gpu else f"{options.device or 'meta'} ({platform.machine()})",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "shape": options.shape,
        "config": {
            "num_experts": config.num_experts, "top_k": config.num_experts_per_token, "moe_layers": config.moe_layers,
            "expert_width": config.moe_intermediate_size,
        },
        "size": asdict(size),
        "matmul_peak_tflop_per_s": peak,
        "speed": [asdict(row) for row in speed],
    }  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "model_size.json").write_text(json.dumps(result, indent=2) + "\n")
    text = render_size_report(result)
    (options.out / "model_size.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
