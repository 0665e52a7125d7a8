from pathlib import Path

from jobs.datasets.demo_broken import _make_huge_png
from jobs.operations.check_photos import ImageHeader, read_image_header
from tests.image_host import open_image_host
from tests.jobs.checked_shop import Check, levels, write_csv


def test_an_image_is_told_from_its_header_and_a_row_without_another_is_refused(
    drawn_shop: Path, check_catalog: Check
) -> None:
    (drawn_shop / "img" / "3.jpg").write_text("<svg/>")
    names = ("img/3.jpg", "img/1.jpg|img/3.jpg", "img/none.jpg|img/3.jpg", "img/1.jpg")
    write_csv(
        drawn_shop / "products.csv", [{"sku": str(i), "name": "Mug", "image": name} for i, name in enumerate(names)]
    )
    (drawn_shop / "m.toml").write_text('id = "sku"\ntitle = "name"\nimages = {column = "image", separator = "|"}\n')
    check = check_catalog(drawn_shop / "products.csv", drawn_shop / "m.toml")
    assert [(refusal.source_row, refusal.reason) for refusal in check.refusals] == [
        (0, "no_readable_image"), (2, "no_readable_image"),
    ]  # fmt: skip
    assert any("3 of 6 images would be refused, such as image_unreadable: " in t for t in levels(check)["warning"])


def test_photos_by_url_are_asked_for_where_the_mapping_is_a_persons(drawn_shop: Path, check_catalog: Check) -> None:
    names = ("https://127.0.0.1:9/1.jpg|img/1.jpg", "https://127.0.0.1:9/1.jpg", "https://elsewhere.example/1.jpg")
    write_csv(
        drawn_shop / "products.csv", [{"sku": str(i), "name": "Mug", "image": name} for i, name in enumerate(names)]
    )
    start = 'id = "sku"\ntitle = "name"\n[images]\ncolumn = "image"\nseparator = "|"\n'
    (drawn_shop / "mapping.toml").write_text(start + 'roots = ["https://127.0.0.1:9/"]\n')
    check = check_catalog(drawn_shop / "products.csv")
    assert [(refusal.source_row, refusal.reason) for refusal in check.refusals] == [(2, "forbidden_uri")]
    assert any("1 of 1 photos by URL failed, such as image_unreachable" in text for text in levels(check)["warning"])
    assert check.rows[0][1][1].width == 80
    assert check_catalog(drawn_shop / "products.csv", allowed_roots=(str(drawn_shop),)).refusals[0].source_row == 0
    (drawn_shop / "mapping.toml").unlink()
    check = check_catalog(drawn_shop / "products.csv")
    assert not check.refusals, "the suggestion allows the hosts that the records name"
    assert "# a private address" in (check.mapping_text or "")
    assert check.rows[0][1][0] == ImageHeader("https://127.0.0.1:9/1.jpg"), "a suggested private address is not asked"
    assert any("1 of 1 photos by URL failed" in text and "elsewhere" in text for text in levels(check)["warning"])


def test_photos_of_a_host_have_a_size_and_what_all_will_need(drawn_shop: Path, check_catalog: Check) -> None:
    with open_image_host() as host:
        names = (host.add_photo("/1.jpg", 1), host.url + "/none.jpg")
        write_csv(
            drawn_shop / "products.csv", [{"sku": str(i), "name": "Mug", "image": name} for i, name in enumerate(names)]
        )
        start = 'id = "sku"\ntitle = "name"\n[images]\ncolumn = "image"\n'
        (drawn_shop / "mapping.toml").write_text(start + f'roots = ["{host.url}"]\n')
        check = check_catalog(drawn_shop / "products.csv")
    assert check.rows[0][1][0].width == 48
    assert any("1 of 2 photos by URL failed, such as image_missing" in text for text in levels(check)["warning"])
    assert any("1 of 2 photos by URL were asked for: they have 1 KiB each" in text for text in levels(check)["note"])
    expected = "the delivery: 2 photos by URL to ask for, about 0.0 MiB (1 KiB each, measured), about 0 s (50 a second"
    assert any(expected in text for text in levels(check)["note"])


def test_thumbnails_of_bad_files_say_why(tmp_path: Path) -> None:
    roots = (f"file://{tmp_path}",)
    (tmp_path / "a.jpg").write_text("<svg/>")
    assert "image_missing" in (read_image_header(f"file://{tmp_path}/none.jpg", roots).problem or "")
    assert "image_forbidden" in (read_image_header("file:///etc/hostname", roots).problem or "")
    assert "image_unreadable" in (read_image_header(f"file://{tmp_path}/a.jpg", roots).problem or "")
    (tmp_path / "bomb.png").write_bytes(_make_huge_png())
    found = read_image_header(f"file://{tmp_path}/bomb.png", roots)
    assert found.problem or (found.width, found.height) == (60_000, 60_000)
