"""What a log file must not keep."""

import pytest

from stpa.redaction import redact

ENVIRONMENT = {
    "RAY_AUTH_TOKEN": "environment-token-1",
    "AWS_SECRET_ACCESS_KEY": "environment/key+2",
    "RAY_AUTH_TOKEN_PATH": "/home/a/token",
    "SHORT_TOKEN": "on",
    "HOME": "/home/a",
}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (
            "no cluster at http://u:p4ss@head:8265 (refused)",
            "no cluster at http://***@head:8265 (refused)",
        ),
        ("s3://AKIA12:a/b+c@host:9000/bucket", "s3://***@host:9000/bucket"),
        ("https://tok3n@host/x", "https://***@host/x"),
        (
            "GET https://h/x?a=1&X-Amz-Signature=dead&b=2",
            "GET https://h/x?a=1&X-Amz-Signature=***&b=2",
        ),
        ("https://h/x?token=abc", "https://h/x?token=***"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer ***"),
        ("aws_secret_access_key = wJal/rXU", "aws_secret_access_key = ***"),
        ("{'password': 'hunter2', 'x': 1}", "{'password': '***', 'x': 1}"),
        ("refused environment-token-1!", "refused ***!"),
        ("signed by environment/key+2", "signed by ***"),
    ],
)
def test_secrets_are_hidden(text, kept):
    assert redact(text, ENVIRONMENT) == kept


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/läuft weg/a@b.avi",
        "give its token: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token",
        "/home/a/token turns it on",
        "the key frame: 12, mail a@b.org",
        "http://head:8265 does not answer",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text, ENVIRONMENT) == text
