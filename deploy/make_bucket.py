"""Makes the bucket of that name at AWS_ENDPOINT_URL, unless it is there, as soon as somebody answers there."""

from __future__ import annotations

import os
import sys
import time

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session

PATIENCE = 60.0


def make(name: str) -> None:
    """Makes it. ClientError where the server refuses; BotoCoreError where nobody answers in time."""
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    plain = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    region = os.environ.get("AWS_REGION") or "us-east-1"
    s3 = get_session().create_client("s3", region, endpoint_url=endpoint, config=plain)
    try:
        s3.create_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise


def main() -> None:
    """Tries until somebody answers."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return make(sys.argv[1])
        except BotoCoreError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    main()
