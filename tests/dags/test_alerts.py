"""Tests of alerts, with a real webhook and a real mail server on the loopback interface."""

import json
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dags.alerts import build_webhook_url, post_json, send_alert
from tests.dags.listeners import mail_server, webhook

NOTICE = {"event": "moon_task_failed", "dag": "moon_nightly", "task": "infer", "date": "2026-03-01", "error": "no GPU"}


def make_connection(**fields):
    extra = fields.pop("extra", {})
    blank = dict.fromkeys(("host", "port", "schema", "login", "password"))
    return SimpleNamespace(**blank | {"host": "127.0.0.1"} | fields, extra_dejson=extra)


@pytest.fixture
def certificate(tmp_path, monkeypatch):
    """The path of a certificate of 127.0.0.1 with its key, which clients trust during the test."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime.now(UTC)).not_valid_after(datetime.now(UTC) + timedelta(days=1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "certificate.pem"
    path.write_bytes(signed.public_bytes(pem) + text)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def test_a_webhook_gets_json_and_the_token():
    with webhook() as (port, received):
        send_alert(make_connection(conn_type="http", schema="http", port=port, password="t"), NOTICE)  # noqa: S106
    assert received == [("Bearer t", NOTICE)]


def test_a_mailbox_gets_one_line_per_field():
    with mail_server() as (port, received):
        extra = {"to": ["night@shop", "day@shop"], "from_email": "moon@shop", "disable_ssl": True, "disable_tls": True}
        send_alert(make_connection(conn_type="smtp", port=port, extra=extra), NOTICE)
    ((*lines,),) = received
    assert "Subject: moon_task_failed moon_nightly infer 2026-03-01" in lines
    assert "From: moon@shop" in lines
    assert "To: night@shop, day@shop" in lines
    assert "error: no GPU" in lines


def test_the_default_is_tls_from_the_first_byte(certificate):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with mail_server(tls) as (port, received):
        send_alert(make_connection(conn_type="smtp", port=port, extra={"to": "night@shop"}), NOTICE)
    ((*lines,),) = received
    assert "From: night@shop" in lines
    assert "error: no GPU" in lines


def test_no_unencrypted_mail_unless_both_kinds_of_tls_are_off():
    with mail_server() as (port, received):
        extra = {"to": "night@shop", "disable_ssl": True}
        with pytest.raises(OSError):  # smtplib's error: the server offers no STARTTLS
            send_alert(make_connection(conn_type="smtp", port=port, extra=extra), NOTICE)
    assert received == []


def test_a_connection_without_receiver_says_what_to_add():
    with pytest.raises(ValueError, match="has no receiver; add"):
        send_alert(make_connection(conn_type="smtp", port=25), NOTICE)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "alerts.example"}, "https://alerts.example"),
        ({"host": "http://alerts.example/moon"}, "http://alerts.example/moon"),
        ({"host": "alerts.example", "schema": "http", "port": 8080}, "http://alerts.example:8080"),
    ],
)
def test_the_url_of_a_connection(fields, url):
    assert build_webhook_url(make_connection(**fields)) == url


def test_other_protocols_than_http_are_refused():
    with pytest.raises(ValueError, match="no http"):
        post_json("file:///etc/passwd", None, json.loads("{}"))
