"""An S3 server on the loopback interface, for tests."""

from __future__ import annotations

import os
from contextlib import contextmanager
from unittest import mock

BUCKET = "blindproof-tests"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def running_s3(port=0):
    """Address and port of a server which has one empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        with mock.patch.dict(os.environ, CREDENTIALS):
            client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
            client.create_bucket(Bucket=BUCKET)
            client.close()
            yield endpoint
    finally:
        server.stop()


def store_url(endpoint, prefix="objects/of/tests"):
    return f"s3://{BUCKET}/{prefix}?endpoint_url={endpoint}&region=us-east-1"
