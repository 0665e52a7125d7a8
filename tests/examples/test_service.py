"""The search service, by HTTP, on a real collection of vectors that a real (tiny) model made."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from examples.service import MAX_PHOTO_BYTES, Shop, create_app, main
from moon_model.encoder import MoonEncoder
from schemas.collection import SPARSE_FIELD
from tests.two_models import GROUPS, TITLES, TwoModels, serve_two_models

SERVER = pytest.param("server", marks=[pytest.mark.milvus_server, pytest.mark.long])


@pytest.fixture(scope="module", params=["lite", SERVER])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoModels]:
    uri = "" if request.param == "lite" else request.getfixturevalue("milvus_server")
    with serve_two_models(tmp_path_factory.mktemp("service"), uri) as found:
        yield found


@pytest.fixture(scope="module")
def shop(served: TwoModels) -> Shop:
    (served.folder / "pictures").mkdir()
    return Shop(served.client, "products", pictures=str(served.folder / "pictures" / "{product_id}-*.jpg"))


@pytest.fixture(scope="module")
def http(shop: Shop) -> TestClient:
    return TestClient(create_app(shop))


@pytest.fixture(scope="module")
def photo() -> Callable[..., bytes]:
    def draw(kind: str = "JPEG", size: tuple[int, int] = (96, 96)) -> bytes:
        Image.new("RGB", size, (180, 20, 30)).save(out := io.BytesIO(), kind)
        return out.getvalue()

    return draw


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["product_id"] for hit in answer.json()["hits"]]


def refusal(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    return answer.json()["error"]


def test_text_photo_and_both(http: TestClient, served: TwoModels, photo) -> None:
    answer = http.get("/search", params={"text": "red hiking boot", "size": 3})
    assert ids(answer)[0] == "boot" and len(ids(answer)) == 3
    best = answer.json()["hits"][0]
    assert best["score"] == pytest.approx(1, abs=1e-3) and best["title"] == "red hiking boot"
    assert best.keys().isdisjoint({"vector", "content_hash", "model_version", "epoch"})
    assert answer.json()["model_version"] == served.encoders[0].model_version

    by_photo = http.post("/search", content=photo("PNG"))
    both = http.post("/search", params={"text": "brass lamp"}, content=photo("PNG"))
    scores = [[hit["score"] for hit in one.json()["hits"]] for one in (by_photo, both, answer)]
    assert len(ids(by_photo)) > 10 and scores[0] != scores[1]
    (expected,) = served.encoders[0].encode_queries(texts=["brass lamp"], images=[photo("PNG")])
    (lamp,) = served.encoders[0].encode_queries(texts=["brass lamp"])
    found = {hit["product_id"]: hit["score"] for hit in both.json()["hits"]}
    assert found["lamp"] == pytest.approx(float(expected @ lamp), abs=2e-3)


def test_one_hit_of_each_group_on_every_page(http: TestClient) -> None:
    whole = ids(http.get("/search", params={"text": "red hiking boot 42", "size": 100}))
    assert len(whole) == len(set(whole)) == len(TITLES) - len(GROUPS)
    pages = [http.get("/search", params={"text": "red hiking boot 42", "size": 4, "page": page}) for page in range(6)]
    assert [hit for page in pages for hit in ids(page)] == whole
    assert [page.json()["more"] for page in pages] == [True] * 4 + [False] * 2
    every = ids(http.get("/search", params={"text": "red hiking boot 42", "size": 100, "variants": True}))
    assert sorted(every) == sorted(TITLES) and every[0] == "boot-42"


def test_similar_products(http: TestClient) -> None:
    found = ids(http.get("/similar", params={"product_id": "boot-42", "size": 100}))
    assert len(found) == len(TITLES) - 3 and not {"boot", "boot-42", "boot-43"} & set(found)
    variants = ids(http.get("/similar", params={"product_id": "boot-42", "size": 100, "variants": True}))
    assert "boot" in variants and "boot-42" not in variants and len(variants) == len(TITLES) - 1
    assert len(ids(http.get("/similar", params={"product_id": 'odd "id"/ü😀', "size": 3}))) == 3
    assert "'gone' is not served" in refusal(http.get("/similar", params={"product_id": "gone"}), 404)


def test_filters(http: TestClient) -> None:
    def found(expression: str) -> list[str]:
        return ids(http.get("/search", params={"text": "mug", "filter": expression}))

    assert found('brand == "A \\"b\\" ü"') == ["mug"]
    assert found('product_id in ["lamp", "none"]') == ["lamp"]
    assert found('brand == "other"') == []
    assert found('payload["price"] == 10') == ["lamp"]
    assert "group_id" in refusal(http.get("/search", params={"text": "mug", "filter": "colour = 3"}), 400)


def test_words_and_meaning_together(http: TestClient, served: TwoModels) -> None:
    query = {"text": "Nordlys 42", "size": 100, "mode": "hybrid"}
    answer = http.get("/search", params=query)
    if answer.json().get("note"):  # the server has no search by words
        assert "by meaning alone" in answer.json()["note"]
        assert ids(answer) == ids(http.get("/search", params=query | {"mode": "vectors"}))
        return
    assert SPARSE_FIELD in {field["name"] for field in served.client.describe_collection(served.names[0])["fields"]}
    assert ids(answer)[0] == "boot-42" and len(ids(answer)) == len(TITLES) - len(GROUPS)
    pages = [http.get("/search", params=query | {"size": 5, "page": page}) for page in range(5)]
    assert [hit for page in pages for hit in ids(page)] == ids(answer)
    assert ids(http.get("/search", params=query | {"filter": 'product_id != "boot-42"'}))[0] != "boot-42"
    assert "search_text" not in answer.json()["hits"][0]


def test_what_cannot_be_asked(http: TestClient, photo, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "say what to look for" in refusal(http.get("/search", params={"text": " "}), 400)
    assert "say what to look for" in refusal(http.post("/search"), 400)
    assert refusal(http.get("/search", params={"text": "x", "size": 0}), 422).startswith("size: ")
    assert refusal(http.get("/search", params={"text": "x" * 1001}), 422).startswith("text: ")
    assert refusal(http.get("/similar"), 422).startswith("product_id: ")
    assert refusal(http.get("/search", params={"text": "x", "page": 151}), 422).startswith("page: ")
    assert "not one of JPEG" in refusal(http.post("/search?text=mug", content=b"<html>no photo</html>"), 415)
    assert "cannot be used" in refusal(http.post("/search?text=mug", content=photo()[:200]), 400)
    assert "10 MiB" in refusal(http.post("/search", content=b"\xff\xd8" * (MAX_PHOTO_BYTES // 2 + 1)), 413)
    assert "36,000,000 pixels" in refusal(http.post("/search", content=photo("PNG", (6000, 6000))), 413)


def test_pictures_come_from_one_folder(http: TestClient, served: TwoModels, photo) -> None:
    folder = served.folder / "pictures"
    (folder / "mug-1.jpg").write_bytes(photo(size=(900, 600)))
    (folder / "bad-1.jpg").write_text("no picture")
    (served.folder / "secret-1.jpg").write_bytes(photo())
    (folder / "link-1.jpg").symlink_to(served.folder / "secret-1.jpg")
    answer = http.get("/picture/mug")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    assert answer.content.startswith(b"\xff\xd8") and len(answer.content) < 10_000
    for absent in ("lamp", "bad", "link", "*", "%2E%2E%2Fsecret", "..%2Fpictures%2Fmug", "mug%00", "x" * 3000, ""):
        none = http.get(f"/picture/{absent}")
        assert (none.status_code, none.content) == (204, b"")


def test_the_page_loads_nothing_from_elsewhere(http: TestClient) -> None:
    answer = http.get("/")
    policy = answer.headers["content-security-policy"]
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert answer.text.count(f'nonce="{nonce}"') == 2 and "NONCE" not in answer.text
    assert "http" not in answer.text and "innerHTML" not in answer.text
    assert http.get("/").headers["content-security-policy"] != policy


def test_health(http: TestClient, served: TwoModels) -> None:
    assert http.get("/health").json() == {
        "alias": "products", "served": served.names[0], "collection": served.names[0],
        "model_version": served.encoders[0].model_version, "rows": len(TITLES),
    }  # fmt: skip
    nothing = TestClient(create_app(Shop(served.client, "absent")))
    assert refusal(nothing.get("/health"), 503) == "nothing is served yet"
    broken = TestClient(create_app(None), raise_server_exceptions=False)
    assert refusal(broken.get("/health"), 500) == "the service failed; its log says why"
    gone = TestClient(create_app(Shop(served.client, "products", checkpoint=str(served.folder / "gone"))))
    assert "encoder" in refusal(gone.get("/search?text=mug"), 503)


def test_eight_threads_read_while_the_alias_moves(served: TwoModels, http: TestClient) -> None:
    """Each answer has rows of one collection, scored by the model of that collection."""
    own = [{hit["product_id"]: hit["score"] for hit in expected(encoder)} for encoder in served.encoders]
    by_name = dict(zip(served.names, own, strict=True))
    assert own[0] != own[1]
    stop, wrong, seen = threading.Event(), [], []

    def read() -> None:
        while not stop.is_set():
            answer = http.get("/search", params={"text": "Running SHOE", "size": 5})
            if answer.status_code != 200:
                wrong.append(answer.text)
                return
            content = answer.json()
            scores = by_name[content["collection"]]
            if any(abs(hit["score"] - scores[hit["product_id"]]) > 2e-3 for hit in content["hits"]):
                wrong.append(content)
            seen.append(content["collection"])

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for name in (served.names[1], served.names[0]):
            served.client.alter_alias(name, "products")
            wait_until(lambda name=name: seen[-8:] == [name] * 8 or wrong)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not wrong
    assert set(seen) == set(served.names)


def expected(encoder: MoonEncoder) -> list[dict[str, Any]]:
    query, *vectors = encoder.encode_queries(texts=["Running SHOE", *TITLES.values()])
    return [{"product_id": key, "score": float(query @ vector)} for key, vector in zip(TITLES, vectors, strict=True)]


def wait_until(look: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[object, str]:
        monkeypatch.setattr("sys.argv", ["service.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, "".join(capsys.readouterr())

    monkeypatch.setenv("MOON_MILVUS_TOKEN", "hidden")
    status, text = run("--help")
    assert status == 0 and "--pictures" in text and "MOON_MILVUS_TOKEN" in text and "hidden" not in text
    status, text = run("--milvus", str(tmp_path / "none.db"))
    assert status == 1 and "no Milvus Lite database" in text and not (tmp_path / "none.db").exists()
    status, text = run("--milvus", "http://user:hidden@127.0.0.1:1")
    assert status == 1 and "at 127.0.0.1:1 does not let us in" in text and "hidden" not in text
