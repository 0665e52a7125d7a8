"""Eight threads read from the search service during a run, a rollout and a rollback, on Milvus Lite.

`test_story.py` does the same on a server. Here all is in one process, because Milvus Lite is open in one only.
"""

from collections import defaultdict
from dataclasses import replace
from datetime import date
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from jobs.datasets.demo_catalog import write_demo_catalog
from jobs.lake.store import open_lake
from jobs.milvus.lite import run_lite_server
from jobs.operations.rollback import plan_rollback, run_rollback
from jobs.operations.rollout import begin_rollout, prepare_rollout, switch_rollout
from jobs.state.run_context import RunContext
from moon_model.encoder import MoonEncoder
from tests.scenarios.nights import run_night
from tests.scenarios.readers import HttpService, Reader, check_scores, wait_for

TINY = Path(__file__).resolve().parents[2] / "checkpoints" / "moon-tiny"
FIRST, SECOND = "2026-11-20", "2026-11-21"


@pytest.mark.long
def test_eight_threads_read_during_a_run_a_rollout_and_a_rollback(spark, make_settings, tmp_path: Path) -> None:
    shop, new = tmp_path / "shop", copytree(TINY, tmp_path / "new")
    write_demo_catalog(shop, products=12, days=2, seed=5, start=date.fromisoformat(FIRST), broken=False)
    processing = new / "processor_config.json"
    processing.write_text(processing.read_text().replace('"lowercase": true', '"lowercase": false'))
    settings = make_settings(catalog=str(shop / "{date}" / "catalog.jsonl"), mapping=str(shop / "mapping.toml"))
    context = RunContext(spark, open_lake(settings), settings, FIRST)
    with run_lite_server(settings.milvus, 0) as uri:
        run_night(spark, settings, FIRST)
        encoders = {one.model_version: one for one in map(MoonEncoder.from_pretrained, (TINY, new))}
        first, second = encoders
        service = HttpService(uri)
        readers = [Reader(service, pause=1.0) for _ in range(8)]
        run_night(spark, settings, SECOND)
        prepare_rollout(begin_rollout(context, str(new), "readers"))
        switch_rollout(begin_rollout(context, str(new), "readers"))
        wait_for(lambda: service.answers[-1][0] == second, 60, "answer of the new model")
        run_rollback(replace(context, reason="readers"), plan_rollback(context))
        wait_for(lambda: service.answers[-1][0] == first, 60, "answer of the model before")
        assert min(reader.stop() for reader in readers) > 5
    vectors = defaultdict(list)
    for row in context.lake.read_arrow("vectors").to_pylist():
        vectors[row["model_version"], row["product_id"]].append(np.float32(row["vector"]))
    check_scores(service.answers, encoders, vectors)
