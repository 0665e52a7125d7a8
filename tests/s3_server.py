"""An S3-compatible server for the tests: moto's, on a free loopback port."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pyarrow import fs

BUCKET = "lake"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Yield the options (in deltalake's names) of a server with the empty bucket `BUCKET`."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it tells of every request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_REGION": "us-east-1",
    }
    try:
        fs.S3FileSystem(
            access_key=options["AWS_ACCESS_KEY_ID"],
            secret_key=options["AWS_SECRET_ACCESS_KEY"],
            region=options["AWS_REGION"],
            endpoint_override=f"{host}:{port}",
            scheme="http",
            allow_bucket_creation=True,
        ).create_dir(BUCKET)
        yield options
    finally:
        server.stop()
