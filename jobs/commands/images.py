"""``moon images``: commands for the image store."""

from typing import Annotated

import typer

from jobs.commands import options
from jobs.commands.output import print_json, print_line
from jobs.commands.session import open_context
from jobs.errors import UsageError

images_app = typer.Typer(help="The image store: photos by URL that the lake holds.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.add_typer(images_app, name="images", rich_help_panel="Serving")


@images_app.callback()
def choose_command() -> None:
    """Group the commands, of which there is one."""


@images_app.command()
def delete(
    product_id: Annotated[str, typer.Argument(metavar="PRODUCT_ID", help="Product whose stored photos go.")],
    lake: options.LakeOption = None,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Remove a product's photos, of all dates, from the image store at once.

    For photos that must not be kept. A product that is still in the catalogue gets its photos again when they are
    asked for: take it, or the photo, out of the catalogue first. The vectors stay.

    [dim]moon images delete "mug 17" --dry-run[/]
    [dim]moon images delete "mug 17"[/]
    """
    from jobs.images.upkeep import delete_packs, find_product_photos, remove_images
    from jobs.settings import Settings

    with open_context(Settings().replace(lake=lake), "images delete", needs_lake=True) as context:
        photos, others = find_product_photos(context.spark, context.lake, product_id)
        if not photos:
            raise UsageError(f"no retained date has stored photos of the product {product_id!r}")
        removed = None if dry_run else remove_images(context.lake, photos)
        if removed is not None:
            delete_packs(context.lake, removed.packs)
    if as_json:
        print_json({"photos": len(photos), "removed": removed.images if removed else 0, "shown_by_others": others})
        return
    shared = f"; {others:,} other products show some of them" if others else ""
    print_line(f"{len(photos):,} photos of {product_id} {'would go' if dry_run else 'are removed'}{shared}")
