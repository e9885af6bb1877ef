"""Secrets in what bakeoff shows, and addresses that are none."""

from __future__ import annotations

import pickle
import re

import pytest

from bakeoff.core.config.parse import parse_settings
from bakeoff.errors import ConfigError, DataError, TrackingError
from bakeoff.stores.tracking import Tracker
from bakeoff.uris import find_uri_fault, find_web_address, mask_password

SECRETS = [
    "http://user:S3CRET@host:5000/x",
    "postgresql://me:S3CRET/x@host/db",
    "postgresql://me:a@S3CRET@host/db",
    "postgresql://me:a#S3CRET?b@host/db",
    "postgresql://me:a:S3CRET[@host/db",
    "postgresql://me:my S3CRET word@host/db",
    "postgresql://me@corp.example:S3CRET@host/db",
    "postgresql+psycopg://:S3CRET@host",
    "https://S3CRET@host/x",
    "https://S3CRETS3CRETS3CRET:x-oauth-basic@host/x",
    "databricks://S3CRET@host",
    "databricks://token:S3CRET@host",
    "postgresql://S3CRETS3CRETS3CRET@host/db",
    "postgresql://host/db?user=u&password=S3CRET",
    "postgresql://host/db?sslpassword=S3CRET&x=1",
    "https://host/x?access_token=S3CRET",
    "https://host/x?api_key=S3CRET&x=1",
    "https://host/x?apikey=S3CRET",
    "https://host/x?sv=2&sig=S3CRET%3D&se=3",
    "https://host/x?X-Amz-Signature=S3CRET",
    "https://host/x?X-Amz-Security-Token=S3CRET",
    "connection failed: host=h password=S3CRET dbname=d",
    "connection failed: host=h password='S3CRET with blanks' dbname=d",
    "host=h password = S3CRET",
    "{'user': 'me', 'password': 'S3CRET'}",
    '{"client_secret": "S3CRET"}',
    "AWS_SECRET_ACCESS_KEY=S3CRET",
    "DATABRICKS_TOKEN=S3CRET",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=S3CRET==;x=1",
    "Authorization: Bearer S3CRETS3CRET",
    "header Basic S3CRETS3CRET==",
    "'postgresql://me:S3CRET",
]
KNOWN_TOKENS = [
    "dapi" + "0123456789abcdef" * 2,
    "hf_" + "aB3" * 10,
    "ghp_" + "aB3" * 12,
    "AKIA" + "ABCD1234" * 2,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
]
PLAIN = [
    "http://host:5000",
    "http://127.0.0.1:9 does not answer; ask admin@example.com",
    "sqlite:////home/a@b/mlflow.db",
    "postgresql://me@host/db",
    "models:/ner@champion",
    "s3://bucket/path",
    "data.task.tokens_field: found 'token'; expected one of tokens, tags",
    "max_tokens=128 and n_tokens=3",
    "kind: token_classification; the token: x",
    "a design=1 with sign=2",
]


@pytest.mark.parametrize("text", SECRETS[:-1])
def test_a_secret_is_masked_in_every_form(text: str) -> None:
    shown = mask_password(f"before {text}; after")
    assert "S3C" not in shown
    assert "***" in shown
    assert shown.startswith("before ")
    assert mask_password(shown) == shown


@pytest.mark.parametrize("token", KNOWN_TOKENS)
def test_a_token_of_a_known_form_is_masked_anywhere(token: str) -> None:
    assert mask_password(f"it said {token}, twice") == "it said ***, twice"


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask_password(text) == text


@pytest.mark.parametrize("text", SECRETS[:-1])
def test_no_error_shows_a_secret(text: str) -> None:
    errors = (
        DataError(text, found=text, expected=text),
        ConfigError([text, text]),
        TrackingError(text, action=text, found=text),
    )
    for error in errors:
        assert "S3C" not in str(error)
        assert "S3C" not in repr(pickle.loads(pickle.dumps(error)))  # noqa: S301 - made here
    assert "S3C" not in "".join(errors[1].faults)


MALFORMED = [
    "postgresql://me:S3CRET/x@host/db",
    "http://[",
    "http://host:notaport",
    "http://host:99999",
    "http://me:S3CRET@[::1/x",
    "https://",
    "http://:5000",
    "http://me:S3CRET@ho[st",
]


@pytest.mark.parametrize("uri", MALFORMED)
@pytest.mark.parametrize("setting", ["tracking.uri", "hpo.storage"])
def test_a_malformed_uri_is_one_line_without_its_secret(uri: str, setting: str) -> None:
    stage, _, name = setting.partition(".")
    text = f"data: {{test: t}}\nmodels: {{a: a}}\n{stage}: {{{name}: '{uri}'}}\n"
    override = f"{setting}='{uri}'"
    without = text.rpartition(stage)[0]
    for given, overrides, place in ((text, (), "c.yaml:3"), (without, (override,), "--set ")):
        with pytest.raises(ConfigError) as caught:
            parse_settings({"": ("c.yaml", given)}, overrides)
        (fault,) = caught.value.faults
        assert fault.startswith(place)
        assert re.search("not a valid URI; correct host and port|a URI without a host; write", fault)
        assert "S3C" not in fault
        assert "\n" not in fault


@pytest.mark.parametrize("uri", MALFORMED)
def test_a_store_with_a_malformed_uri_is_not_asked(uri: str) -> None:
    tracker = Tracker(uri)
    with pytest.raises(TrackingError, match=r"a valid URI|without a host") as caught:
        tracker.ensure_experiment("x")
    assert "S3C" not in str(caught.value)
    assert tracker.n_requests == 0


def test_usual_uris_have_no_fault() -> None:
    for uri in (*PLAIN[:1], *PLAIN[2:6], "databricks", "databricks://profile", "postgresql:///db", "./mlruns",
                "C:\\data\\mlruns", "sqlite:///C:/x.db", "postgresql://me:p%40ss@[::1]:5432/db"):  # fmt: skip
        assert find_uri_fault(uri) is None


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("http://host:5000", "http://host:5000"),
        ("HTTPS://mlflow.example/team/", "https://mlflow.example/team"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("https://me:S3CRET@host/x?token=S3CRET#S3CRET", "https://host/x"),
        ("https://S3CRET@host", "https://host"),
    ],
)
def test_a_tracking_server_has_an_address_of_its_pages_without_secrets(uri: str, address: str) -> None:
    assert find_web_address(uri) == address


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///mlflow.db",
        "postgresql://me:S3CRET@host/db",
        "databricks://profile",
        "mlruns",
        "http://",
        "https://host/hf_S3CRETS3CRETS3CRETS3CRET/x",
        'https://host/"><script>',
        "https://host\\@evil.example/",
        "javascript:alert(1)",
    ],
)
def test_other_stores_have_no_address_of_pages(uri: str) -> None:
    assert find_web_address(uri) is None
