from pathlib import Path

from jobs.catalog.suggest_mapping import suggest_mapping
from schemas.source import SourceMapping


def suggest(addresses: list[str], folder: Path | None = None) -> tuple[str, list[str] | None]:
    records = [{"id": i, "title": "Mug", "image": address} for i, address in enumerate(addresses)]
    text = suggest_mapping(["id", "title", "image"], records, folder)
    mapping = SourceMapping.parse(text)
    assert mapping.images is not None
    return text, mapping.images.roots


def test_the_hosts_of_photos_are_sorted() -> None:
    text, roots = suggest(["https://b.example/1.jpg", "HTTPS://A.example:8443/x/2.jpg?v=1", "https://b.example/3.jpg"])
    assert roots == ["https://a.example:8443/", "https://b.example/"]
    assert "#" not in text


def test_private_addresses_have_a_remark() -> None:
    addresses = [
        "http://127.0.0.1:8000/1.jpg",
        "http://localhost/2.jpg",
        "https://[fd00::1]/3.jpg",
        "https://a.de/4.jpg",
    ]
    text, roots = suggest(addresses)
    assert roots == ["http://127.0.0.1:8000/", "http://localhost/", "https://[fd00::1]/", "https://a.de/"]
    assert text.count("# a private address: photos are fetched from your own network") == 3
    assert 'network\n    "https://[fd00::1]/",\n    "https://a.de/",\n]' in text


def test_at_most_twenty_hosts_the_commonest() -> None:
    addresses = [f"https://h{i}.example/{k}.jpg" for i in range(30) for k in range(1 + (i >= 10))]
    _, roots = suggest(addresses)
    assert roots == sorted(f"https://h{i}.example/" for i in range(10, 30))


def test_an_address_with_a_user_is_no_root() -> None:
    assert suggest(["https://me:secret@host/1.jpg"] * 3)[1] is None


def test_paths_without_a_host_need_no_roots(tmp_path: Path) -> None:
    assert suggest(["1.jpg", "x/2.jpg"], tmp_path)[1] is None
    assert suggest(["1.jpg", "x/2.jpg"])[1] is None
    assert suggest(["../photos/1.jpg", "../photos/2.jpg"], tmp_path)[1] is None, "there is no such file"


def test_folders_beside_the_catalogue_that_have_the_photos(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    for name in ("shop/here/1.jpg", "photos/a/1.jpg", "photos/b/2.jpg", "other/secret.key"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    _, roots = suggest(["here/1.jpg", "../photos/a/1.jpg", "../photos/b/2.jpg", "../other/secret.key"], shop)
    assert roots == [str(tmp_path / "photos")]
    (tmp_path / "0.jpg").touch()
    assert suggest(["../0.jpg"], shop)[1] is None, "a folder that holds the catalogue is not given as a whole"
