"""Sends alerts to the Airflow connection ``moon_alerts``: a webhook (type HTTP) or a mailbox (type SMTP).

* type HTTP: host, port, schema (default https); the notice is posted as JSON, the password is sent as bearer token;
* type SMTP: host, port, login, password, and the extra ``{"to": …, "from_email": …}``. The connection uses TLS from the
  first byte; with the extra ``disable_ssl`` it uses STARTTLS, with ``disable_ssl`` and ``disable_tls`` no encryption.

docs/decisions/0028-own-implementations.md says why these are not the hooks of Airflow's HTTP and SMTP providers.
"""

import json
import logging
import smtplib
import ssl
import urllib.request
from email.message import EmailMessage
from typing import Any

log = logging.getLogger(__name__)

CONNECTION = "moon_alerts"
TIMEOUT_SECONDS = 20


def send_alert(connection: Any, notice: dict[str, Any]) -> None:
    """Send a notice to the webhook or the mailbox of a connection.

    Args:
        connection: Airflow connection of type HTTP or SMTP.
        notice: JSON values by field name; the field ``event`` says what happened.

    Raises:
        ValueError: the connection lacks a field or has an unusable one.
        OSError: the webhook or the mail server did not accept the notice.
    """
    if connection.conn_type in ("smtp", "email"):
        send_mail(connection, notice)
    else:
        post_json(build_webhook_url(connection), connection.password, notice)


def build_webhook_url(connection: Any) -> str:
    """Return the URL of an Airflow HTTP connection; https where neither host nor schema names a protocol."""
    host = connection.host or ""
    if "://" not in host:
        host = f"{connection.schema or 'https'}://{host}"
    return f"{host}:{connection.port}" if connection.port else host


def post_json(url: str, token: str | None, notice: dict[str, Any]) -> None:
    """Post a notice as JSON.

    Args:
        url: http or https URL of the webhook.
        token: bearer token; None: no Authorization header.
        notice: body of the request.

    Raises:
        ValueError: the URL is neither http nor https.
        OSError: the webhook did not accept the notice.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"connection {CONNECTION}: {url} is no http(s) URL; no alert was sent")
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, json.dumps(notice).encode(), headers)  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
        log.info("posted to %s: %d", CONNECTION, response.status)


def send_mail(connection: Any, notice: dict[str, Any]) -> None:
    """Send a notice as a plain-text mail with one line per field.

    Args:
        connection: Airflow connection of type SMTP.
        notice: fields of the mail; event, dag, task and date are also its subject.

    Raises:
        ValueError: the connection has no receiver.
        OSError: the mail server did not accept the mail.
    """
    extra = connection.extra_dejson
    to = extra.get("to")
    if not to:
        raise ValueError(f'connection {CONNECTION} has no receiver; add {{"to": "team@shop.example"}} to its extra')
    receivers = [to] if isinstance(to, str) else list(to)
    message = EmailMessage()
    message["Subject"] = " ".join(str(notice[name]) for name in ("event", "dag", "task", "date") if notice.get(name))
    message["From"] = extra.get("from_email") or receivers[0]
    message["To"] = ", ".join(receivers)
    message.set_content("\n".join(f"{name}: {value}" for name, value in notice.items()))
    with _connect_mail_server(connection) as server:
        server.send_message(message)
    log.info("mailed by %s", CONNECTION)


def _connect_mail_server(connection: Any) -> smtplib.SMTP:
    """Return a logged-in SMTP client, encrypted as the connection's extra says."""
    extra = connection.extra_dejson
    port = connection.port or 0  # 0: the protocol's default port
    tls = ssl.create_default_context()
    server: smtplib.SMTP
    if extra.get("disable_ssl"):
        server = smtplib.SMTP(connection.host, port, timeout=TIMEOUT_SECONDS)
        if not extra.get("disable_tls"):
            server.starttls(context=tls)
    else:
        server = smtplib.SMTP_SSL(connection.host, port, timeout=TIMEOUT_SECONDS, context=tls)
    if connection.login:
        server.login(connection.login, connection.password or "")
    return server
