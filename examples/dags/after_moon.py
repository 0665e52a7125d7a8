"""An example of a team downstream: runs whenever a night has been served, with the snapshot date it brought.

Copy it into your own DAG folder. It imports nothing of this repository: the asset's name and URI are the contract, and
the event carries ``{"snapshot_date": "YYYY-MM-DD"}``.
"""

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Asset, dag, task

PRODUCTS = Asset(name="moon_products", uri="x-moon://collections/products")
"""What the nightly publishes for the alias `products` (setting MOON_ALIAS)."""


def served_dates(events: Any) -> list[str]:
    """Return the snapshot dates of asset events, oldest first, each once; two nights may arrive in one run."""
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
    """Refresh what depends on the embeddings."""

    @task(execution_timeout=timedelta(minutes=30))
    def refresh(triggering_asset_events: Any = None) -> list[str]:
        """Recompute what is kept per product, such as cached neighbours, for the dates that were served."""
        dates = served_dates(triggering_asset_events[PRODUCTS])
        print(f"embeddings of {', '.join(dates)} are served: refresh here")
        return dates

    refresh()


after_moon()
