"""A search service in one file: similar products, search by text and photo, health, and a page to try it.

    python examples/service.py --milvus http://127.0.0.1:19530 --pictures 'shop/images/{product_id}.jpg'

It needs ``pip install . pymilvus fastapi uvicorn`` (``milvus-lite`` for a path), and neither Spark nor the lake:

    GET  /search?text=red+mug&filter=brand+==+"Nordlys"&page=0&size=20     products for a text
    POST /search?text=in+blue        the bytes of a photo as body          for a photo, alone or together with a text
    GET  /similar?product_id=4711                                          products like one that is served
    GET  /picture/4711    GET /health    GET /                             a thumbnail, the served state, the page

An answer holds one hit of each group (``variants=true``: all) and is of one model. A mistake is ``{"error": "…"}``
with a 4xx status. The token of Milvus is read from MOON_MILVUS_TOKEN, and neither logged nor shown.
"""

import argparse
import glob
import io
import json
import logging
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, Field
from pymilvus import DataType, MilvusClient, MilvusException

from jobs.serving.hybrid import NO_WORDS, HybridSearch
from moon_model.collection_contract import NothingServedError, WrongEncoderError, read_served_model
from moon_model.images import BadImageError, check_image_start, decode_image
from moon_model.served_encoder import ServedEncoder
from schemas import collection as contract
from schemas.collection import GROUP_FIELD, ID_FIELD, VECTOR_FIELD

log = logging.getLogger("service")
Search = Callable[[int], list[dict[str, Any]]]

MAX_HITS = 16_384
"""Milvus answers with no more."""
MAX_TEXT = 1_000
"""Characters of a text, a filter or a product id."""
MAX_PHOTO_BYTES, MAX_PHOTO_PIXELS = 10 << 20, 25_000_000
"""Limits of an uploaded photo: bytes of the file, and pixels by its header, before it is decoded."""
MAX_ENCODINGS = 2
"""Queries that are encoded at the same time; more wait, so that many photos cannot use up the memory."""
HIDDEN = {"content_hash", "payload_hash", "model_version", "epoch", contract.SEARCH_TEXT_FIELD}
"""Fields that an answer does not repeat for each hit."""
FAILURES = {
    NothingServedError: (503, "nothing is served yet"),
    WrongEncoderError: (503, "the encoder of the served model is not on this machine"),
    MilvusException: (503, "Milvus does not answer"),
    Exception: (500, "the service failed; its log says why"),
}
PAGE, THUMBNAIL_SIDE = Path(__file__).with_suffix(".html"), 320
STATIC_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class PageQuery(BaseModel):
    """The parameters of every search."""

    page: int = Field(0, ge=0, le=150, description="0 is the first; with 100 hits a page, all that Milvus answers")
    size: int = Field(20, ge=1, le=100)
    filter: str = Field("", max_length=MAX_TEXT, description="a Milvus filter over the fields of a product")
    variants: bool = Field(False, description="all variants of a product, not one hit of each group")


class TextQuery(PageQuery):
    """What to look for; ``hybrid`` puts products first that contain every word of the text."""

    text: str = Field("", max_length=MAX_TEXT)
    mode: Literal["vectors", "hybrid"] = "vectors"


class SimilarQuery(PageQuery):
    """The product whose like is looked for."""

    product_id: str = Field(min_length=1, max_length=MAX_TEXT)


class RequestError(Exception):
    """A request that cannot be answered, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Collection:
    """What a search needs to know of a collection: fields of an answer, type of the index, can words be searched."""

    fields: list[str]
    index_type: str
    has_words: bool


class Shop:
    """Answers queries from the served collection.

    Args:
        client, alias, checkpoint: see ``moon_model.served_encoder``.
        pictures: path of a product's picture with ``{product_id}`` in the file's name, which may have wildcards; only
            files of this folder are shown. Empty: no pictures.
    """

    def __init__(self, client: MilvusClient, alias: str, checkpoint: str | None = None, pictures: str = "") -> None:
        self.client, self.alias, self.pictures = client, alias, pictures
        self.encoder = ServedEncoder(client, alias, path=checkpoint)
        self._encodings = threading.BoundedSemaphore(MAX_ENCODINGS)
        self._describe = lru_cache(maxsize=16)(self._read_collection)  # neither fields nor index of a name change

    def search(self, query: TextQuery, photo: bytes = b"") -> dict[str, Any]:
        """Return a page of the products nearest to a text, a photo, or a photo together with a text."""
        text = query.text.strip()
        if not text and not photo:
            raise RequestError(400, "say what to look for: a text, a photo as the request's body, or both")
        encoder, name = self.encoder.choose()
        with self._encodings:
            image = read_photo(photo) if photo else None
            vectors = encoder.encode_queries([text] if text else None, [image] if image else None)
        nearest, note = partial(self._find, name, vectors[0]), {}
        find = partial(nearest, expression=query.filter)
        if query.mode == "hybrid" and text and self._describe(name).has_words:
            find = HybridSearch(self.client, name, text, nearest, query.filter)
        elif query.mode == "hybrid" and text:
            note = {"note": NO_WORDS}
        return self._answer(name, encoder.model_version, find, query) | note

    def find_similar(self, query: SimilarQuery) -> dict[str, Any]:
        """Return a page of the products most like one that is served, without itself and its variants."""
        encoder, name = self.encoder.choose()
        # json.dumps: an id may contain quotes, and pymilvus inserts ids into expressions as they are.
        wanted = f"{ID_FIELD} == {json.dumps(query.product_id, ensure_ascii=False)}"
        group = [GROUP_FIELD] if GROUP_FIELD in self._describe(name).fields else []
        rows = self.client.query(name, filter=wanted, output_fields=[ID_FIELD, VECTOR_FIELD, *group])
        if not rows:
            raise RequestError(404, f"product {query.product_id!r} is not served")
        find = partial(self._find, name, rows[0][VECTOR_FIELD], expression=query.filter)
        return self._answer(name, encoder.model_version, find, query, rows[0])

    def check_health(self) -> dict[str, Any]:
        """Return what the alias names, and what answers: for seconds after a rollout still the model before."""
        encoder, name = self.encoder.choose()
        rows = self.client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"]
        served = read_served_model(self.client, self.alias).collection
        state = {"collection": name, "model_version": encoder.model_version}
        return state | {"alias": self.alias, "served": served, "rows": rows}

    def make_thumbnail(self, product_id: str) -> bytes | None:
        """Return a small JPEG of a product's picture; None if there is no file for it, or it is no picture."""
        if not self.pictures or "/" in product_id or not product_id.isprintable():
            return None
        pattern = Path(self.pictures)
        files = sorted(pattern.parent.glob(pattern.name.replace("{product_id}", glob.escape(product_id))))
        if not files or not files[-1].resolve().is_relative_to(pattern.parent.resolve()):
            return None
        try:
            image = decode_image(files[-1], max_pixels=MAX_PHOTO_PIXELS, min_side=THUMBNAIL_SIDE)
        except BadImageError:
            return None
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        image.save(out := io.BytesIO(), "JPEG", quality=80)
        return out.getvalue()

    def _answer(self, name: str, version: str, find: Search, query: PageQuery, own: Any = None) -> dict[str, Any]:
        """Return the page of a query; asks for more hits until there are enough groups, or no more hits."""

        def read_group(hit: dict[str, Any]) -> str:
            return hit[ID_FIELD] if query.variants else hit.get(GROUP_FIELD) or hit[ID_FIELD]

        first = query.page * query.size
        wanted = first + query.size + 1  # one more tells whether there is another page
        limit = min(MAX_HITS, 2 * wanted)
        while True:
            hits, found = find(limit), {}
            for hit in hits:
                found.setdefault(read_group(hit), hit)
            if own:
                found.pop(read_group(own), None)
            if len(found) >= wanted or len(hits) < limit or limit == MAX_HITS:
                break
            limit = min(MAX_HITS, 4 * limit)
        shown = list(found.values())[first : wanted - 1]
        answer = {"collection": name, "model_version": version, "page": query.page}
        return answer | {"more": len(found) >= wanted, "hits": shown}

    def _find(self, name: str, vector: Any, limit: int, expression: str) -> list[dict[str, Any]]:
        """Return the products nearest to a vector, best first."""
        collection = self._describe(name)
        params = {"metric_type": contract.METRIC, "params": contract.build_search_params(collection.index_type, limit)}
        wanted = {"anns_field": VECTOR_FIELD, "search_params": params, "output_fields": collection.fields}
        try:
            hits = self.client.search(name, [vector], filter=expression, limit=limit, **wanted)[0]
        except MilvusException as error:
            if not expression or not self.client.has_collection(name):  # then the filter is not to blame
                raise
            reason, names = " ".join(error.message.split())[:300], ", ".join(collection.fields)
            raise RequestError(400, f"Milvus does not understand the filter ({reason}). Fields: {names}") from error
        return [{"score": round(hit["distance"], 6)} | dict(hit["entity"]) for hit in hits]

    def _read_collection(self, name: str) -> Collection:
        fields = {field["name"]: field["type"] for field in self.client.describe_collection(name)["fields"]}
        index = self.client.describe_index(name, VECTOR_FIELD) or {}
        self.client.load_collection(name)  # a server keeps it loaded; Milvus Lite forgets
        shown = [field for field, kind in fields.items() if field not in HIDDEN and kind < DataType.BINARY_VECTOR]
        return Collection(shown, index.get("index_type", ""), contract.SPARSE_FIELD in fields)


def read_photo(data: bytes) -> Any:
    """Return the picture of uploaded bytes; the header is checked before a pixel is decoded."""
    try:
        check_image_start(data)
        return decode_image(data, max_pixels=MAX_PHOTO_PIXELS)
    except BadImageError as error:
        status = {"image_format": 415, "image_too_large": 413}.get(error.reason, 400)
        raise RequestError(status, f"the photo cannot be used: {error.detail}") from error


async def receive_photo(request: Request) -> bytes:
    """Return the body of a request; it stays in memory and is refused as soon as it is too large."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_PHOTO_BYTES:
            raise RequestError(413, f"the photo has more than {MAX_PHOTO_BYTES >> 20} MiB")
    return bytes(data)


def create_app(shop: Shop) -> FastAPI:
    """Return the service."""
    app = FastAPI(title="MOON search", docs_url=None, redoc_url=None)  # their pages would load scripts from elsewhere
    body = {"requestBody": {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}}

    @app.get("/search")
    def search(query: Annotated[TextQuery, Query()]) -> dict:
        return shop.search(query)

    @app.post("/search", openapi_extra=body)
    def search_photo(query: Annotated[TextQuery, Query()], photo: Annotated[bytes, Depends(receive_photo)]) -> dict:
        return shop.search(query, photo)

    @app.get("/similar")
    def similar(query: Annotated[SimilarQuery, Query()]) -> dict:
        return shop.find_similar(query)

    @app.get("/health")
    def health() -> dict:
        return shop.check_health()

    @app.get("/picture/{product_id:path}")
    def picture(product_id: str) -> Response:
        data = shop.make_thumbnail(product_id)
        if data is None:  # no error: a page that asks for pictures of its hits would fill the browser's console
            return Response(status_code=204)
        return Response(data, media_type="image/jpeg", headers=STATIC_HEADERS | {"Cache-Control": "max-age=3600"})

    @app.get("/", response_class=HTMLResponse)
    def page() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        own = f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; connect-src 'self'"
        policy = f"default-src 'none'; {own}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        html = PAGE.read_text("utf-8").replace("NONCE", nonce)
        return HTMLResponse(html, headers=STATIC_HEADERS | {"Content-Security-Policy": policy})

    for kind in (RequestError, RequestValidationError, *FAILURES):
        app.exception_handler(kind)(answer_error)
    return app


def answer_error(request: Request, error: Exception) -> JSONResponse:
    """Answer a mistake or a failure with ``{"error": …}``; only the log has what a reader should not see."""
    if isinstance(error, RequestError):
        return JSONResponse({"error": str(error)}, error.status)
    if isinstance(error, RequestValidationError):
        return JSONResponse({"error": "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())}, 422)
    log.error("%s %s: %s", request.method, request.url.path, error)
    status, text = next(answer for kind, answer in FAILURES.items() if isinstance(error, kind))
    return JSONResponse({"error": text}, status)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("MOON_MILVUS", str(Path(__file__).resolve().parents[1] / "var/milvus.db"))
    parser.add_argument("--milvus", default=default, help="server, or path of Milvus Lite (default: MOON_MILVUS)")
    parser.add_argument("--alias", default=os.environ.get("MOON_ALIAS", "products"), help="alias for readers")
    parser.add_argument("--model", help="folder of the checkpoint, if it is not where the collection says")
    parser.add_argument("--pictures", default="", help="path of a picture, as 'shop/images/{product_id}*.jpg'")
    parser.add_argument("--host", default="127.0.0.1", help="address; others than this machine need a proxy with login")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    for noisy in ("pymilvus", "milvus_lite"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)  # each of their errors is raised as well
    log.setLevel(logging.INFO)
    is_path = "://" not in options.milvus
    shown = options.milvus if is_path else options.milvus.rsplit("@", 1)[-1]  # without user and password
    if is_path and not Path(options.milvus).exists():  # pymilvus would make one
        parser.exit(1, f"there is no Milvus Lite database at {shown}: run `moon nightly` first\n")
    try:
        client = MilvusClient(options.milvus, token=os.environ.get("MOON_MILVUS_TOKEN", ""), timeout=30)
        shop = Shop(client, options.alias, options.model, options.pictures)
        shop.encoder.choose()
    except MilvusException:
        parser.exit(1, f"Milvus at {shown} does not let us in: start it, or end the process that has the path open\n")
    except (NothingServedError, WrongEncoderError) as error:
        parser.exit(1, f"{error}\n")
    uvicorn.run(create_app(shop), host=options.host, port=options.port, access_log=False)


if __name__ == "__main__":
    main()
