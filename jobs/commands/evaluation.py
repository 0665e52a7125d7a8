"""``moon evaluate``: measures the quality of a model and compares it with baselines."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.commands import options
from jobs.commands.output import print_json, print_line
from jobs.commands.session import open_context
from jobs.errors import MoonError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.settings import Settings
    from moon_model.evaluation.run import Evaluation
    from moon_model.evaluation.tasks import Benchmark

PANEL = "Learning"
BENCHMARK_FOLDERS = ("grocery", "clothing", "eshop", "mbe")
"""Data sets that lie in a folder or file."""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(rich_help_panel=PANEL)(evaluate)


def evaluate(
    data: Annotated[
        list[str],
        typer.Option("--data", metavar="NAME[=PATH]", help="Repeatable: demo, lake, grocery=DIR, clothing=DIR, …"),
    ] = ["demo"],  # noqa: B006  # typer copies it
    model: Annotated[str | None, typer.Option("--model", metavar="DIR", help="Checkpoint. Default: moon-tiny.")] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for evaluation.json, evaluation.md and plots.")
    ] = Path("var/evaluation"),
    products: Annotated[
        int, typer.Option("--products", min=20, help="Products of the demo shop, or sampled from the lake.")
    ] = 300,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the demo shop, the sample and the intervals.")] = 900,
    minilm: Annotated[
        Path | None, typer.Option("--minilm", metavar="DIR", help="all-MiniLM-L6-v2, for the baselines with texts.")
    ] = None,
    baselines: Annotated[bool, typer.Option("--baselines/--no-baselines", help="Measure them as well.")] = True,
    date: options.DateOption = None,
    catalog: options.CatalogOption = None,
    mapping: options.MappingOption = None,
    lake: options.LakeOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Measure a model zero-shot: retrieval, categories, attributes, each with its baselines.

    Texts and pictures have to find products, categories and attributes are hidden and predicted. Data sets: demo (a
    shop drawn by us from a seed that training does not use), lake (validated products of --date), grocery, clothing and
    eshop (their folders), mbe (its JSON lines, with the pictures in images/ next to it).

    [dim]moon evaluate --data demo --data eshop=../shared/data/eshop[/]
    [dim]moon evaluate --data lake --date 2026-11-22 --model models/next[/]
    """
    from jobs.settings import Settings
    from moon_model.encoder import MoonEncoder
    from moon_model.evaluation.baselines import MoonEmbedder, build_baselines
    from moon_model.evaluation.catalogue import MIN_PRODUCTS
    from moon_model.evaluation.photo_sets import BenchmarkDataError
    from moon_model.evaluation.run import run_benchmarks as run

    settings = Settings().replace(model=model, lake=lake, catalog=catalog, mapping=mapping)
    try:
        benchmarks = [_build_benchmark(one, settings, date, products, seed) for one in data]
        if empty := [one.name for one in benchmarks if not one.tasks]:
            raise MoonError(f"{', '.join(empty)}: nothing to ask; a task needs {MIN_PRODUCTS} products that allow it")
        encoder = MoonEncoder.from_pretrained(settings.model)
        others = build_baselines(encoder, minilm, seed) if baselines else []
    except (BenchmarkDataError, FileNotFoundError) as error:
        raise MoonError(str(error)) from error
    found = run(
        benchmarks,
        [MoonEmbedder(encoder), *others],
        model_version=encoder.model_version,
        seed=seed,
        progress=not as_json,
    )
    text = _write_evaluation(found, out)
    if as_json:
        print_json(found.to_document())
    else:
        print_line(text)


def _write_evaluation(found: "Evaluation", out: Path) -> str:
    """Write what was measured as JSON, Markdown and plots into a folder; return the Markdown."""
    from moon_model.evaluation.report import plot_evaluation, render_evaluation

    text = render_evaluation(found)
    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.json").write_text(json.dumps(found.to_document(), indent=2, ensure_ascii=False) + "\n", "utf-8")
    (out / "evaluation.md").write_text(text, encoding="utf-8")
    plot_evaluation(found, out)
    return text


def _build_benchmark(wanted: str, settings: "Settings", date: str | None, products: int, seed: int) -> "Benchmark":
    from moon_model.evaluation.demo_shop import build_demo_benchmark
    from moon_model.evaluation.mbe import build_mbe_benchmark
    from moon_model.evaluation.photo_sets import (
        build_clothing_benchmark,
        build_eshop_benchmark,
        build_grocery_benchmark,
    )

    name, _, path = wanted.partition("=")
    if name in BENCHMARK_FOLDERS:
        if not path:
            raise typer.BadParameter(f"say where it is: --data {name}=PATH", param_hint="--data")
        loaders: tuple[Callable[[Path], Benchmark], ...] = (
            build_grocery_benchmark,
            build_clothing_benchmark,
            build_eshop_benchmark,
            build_mbe_benchmark,
        )
        return dict(zip(BENCHMARK_FOLDERS, loaders, strict=True))[name](Path(path))
    if path or name not in ("demo", "lake"):
        raise typer.BadParameter(
            f"{wanted!r} is none of demo, lake, {', '.join(f'{one}=PATH' for one in BENCHMARK_FOLDERS)}",
            param_hint="--data",
        )
    if name == "lake":
        return _build_lake_benchmark(settings, date, products, seed)
    try:
        return build_demo_benchmark(seed, products)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--seed") from error


def _build_lake_benchmark(settings: "Settings", date: str | None, products: int, seed: int) -> "Benchmark":
    from jobs.commands.nightly import parse_snapshot_date
    from jobs.datasets.benchmark_products import build_lake_benchmark

    with open_context(settings, "evaluate", parse_snapshot_date(date, settings)) as context:
        return build_lake_benchmark(context, products, seed)
