"""Example of a downstream DAG: it runs after each published nightly run, with the snapshot date of that run.

Copy it into your own DAG folder. It imports nothing from this repository. The interface is the asset's name and URI,
and ``{"snapshot_date": "YYYY-MM-DD"}`` as extra of each event.
"""

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Asset, dag, task

PRODUCTS = Asset(name="moon_products", uri="x-moon://collections/products")
"""The asset of `moon_nightly` for the alias `products` (setting MOON_ALIAS)."""


def collect_dates(events: Any) -> list[str]:
    """Return the distinct snapshot dates of asset events, oldest first; one run may receive several events."""
    return sorted({event.extra["snapshot_date"] for event in events if event.extra.get("snapshot_date")})


@dag(
    schedule=[PRODUCTS],
    start_date=datetime(2024, 1, 1),
    catchup=False,
    tags=["moon", "example"],
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
)
def after_moon() -> None:
    """Refresh data that depends on the embeddings."""

    @task(execution_timeout=timedelta(minutes=30))
    def refresh(triggering_asset_events: Any = None) -> list[str]:
        """Return the published dates; recompute here what is stored per product, such as cached neighbours."""
        dates = collect_dates(triggering_asset_events[PRODUCTS])
        print(f"embeddings of {', '.join(dates)} are published: refresh here")
        return dates

    refresh()


after_moon()
