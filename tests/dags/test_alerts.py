"""Alerts, against a webhook and a mail server that really listen."""

import json
from types import SimpleNamespace

import pytest

from dags.alerts import post, send, webhook_url
from tests.dags.listeners import mail_server, webhook

NOTICE = {"event": "moon_task_failed", "dag": "moon_nightly", "task": "infer", "date": "2026-03-01", "error": "no GPU"}


def connection(**fields):
    extra = fields.pop("extra", {})
    blank = dict.fromkeys(("host", "port", "schema", "login", "password"))
    return SimpleNamespace(**blank | {"host": "127.0.0.1"} | fields, extra_dejson=extra)


def test_a_webhook_gets_json_and_the_token():
    with webhook() as (port, received):
        send(connection(conn_type="http", schema="http", port=port, password="t"), NOTICE)  # noqa: S106
    assert received == [("Bearer t", NOTICE)]


def test_a_mailbox_gets_a_line_a_field():
    with mail_server() as (port, received):
        extra = {"to": ["night@shop", "day@shop"], "from_email": "moon@shop", "disable_ssl": True, "disable_tls": True}
        send(connection(conn_type="smtp", port=port, extra=extra), NOTICE)
    ((*lines,),) = received
    assert "Subject: moon_task_failed moon_nightly infer 2026-03-01" in lines
    assert "From: moon@shop" in lines
    assert "To: night@shop, day@shop" in lines
    assert "error: no GPU" in lines


def test_no_plain_mail_unless_both_ways_of_tls_are_off():
    with mail_server() as (port, received):
        extra = {"to": "night@shop", "disable_ssl": True}
        with pytest.raises(OSError):  # smtplib's error: the server offers no STARTTLS
            send(connection(conn_type="smtp", port=port, extra=extra), NOTICE)
    assert received == []


def test_a_mailbox_of_nobody_says_what_to_add():
    with pytest.raises(ValueError, match="names nobody"):
        send(connection(conn_type="smtp", port=25), NOTICE)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "alerts.example"}, "https://alerts.example"),
        ({"host": "http://alerts.example/moon"}, "http://alerts.example/moon"),
        ({"host": "alerts.example", "schema": "http", "port": 8080}, "http://alerts.example:8080"),
    ],
)
def test_url_of_a_connection(fields, url):
    assert webhook_url(connection(**fields)) == url


def test_only_http_is_posted_to():
    with pytest.raises(ValueError, match="no http"):
        post("file:///etc/passwd", None, json.loads("{}"))
