"""Where alerts go: the Airflow connection ``moon_alerts``, a webhook or a mailbox; without one, the log alone has them.

* type HTTP: host, port, schema; the notice is posted as JSON, the password sent as bearer token;
* type SMTP: host, port, login, password, and in its extra ``{"to": …, "from_email": …}``; TLS from the first byte, less
  with ``disable_ssl`` (then STARTTLS), none with ``disable_tls`` as well: the names of Airflow's SMTP provider.
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


def send(connection: Any, notice: dict[str, Any]) -> None:
    """Send a notice the way the connection is meant.

    Args:
        connection: Airflow's, of type HTTP or SMTP.
        notice: flat and JSON-able; ``event`` says what happened.

    Raises:
        ValueError: the connection cannot be used.
        OSError: the webhook or the mail server did not take it.
    """
    if connection.conn_type in ("smtp", "email"):
        mail(connection, notice)
    else:
        post(webhook_url(connection), connection.password, notice)


def webhook_url(connection: Any) -> str:
    """Return the URL that an Airflow HTTP connection means."""
    host = connection.host or ""
    if "://" not in host:
        host = f"{connection.schema or 'https'}://{host}"
    return f"{host}:{connection.port}" if connection.port else host


def post(url: str, token: str | None, notice: dict[str, Any]) -> None:
    """Post a notice as JSON.

    Raises:
        ValueError: the URL is neither http nor https.
        OSError: the webhook did not take it.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"connection {CONNECTION}: {url} is no http(s) URL")
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, json.dumps(notice).encode(), headers)  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        log.info("posted to %s: %d", CONNECTION, answer.status)


def mail(connection: Any, notice: dict[str, Any]) -> None:
    """Send a notice as a plain mail, one line a field.

    Raises:
        ValueError: the connection names nobody to write to.
        OSError: the mail server did not take it.
    """
    extra = connection.extra_dejson
    to = extra.get("to")
    if not to:
        raise ValueError(f'connection {CONNECTION}: its extra names nobody to write to; add {{"to": "night@shop"}}')
    receivers = [to] if isinstance(to, str) else list(to)
    message = EmailMessage()
    message["Subject"] = " ".join(str(notice[name]) for name in ("event", "dag", "task", "date") if notice.get(name))
    message["From"], message["To"] = extra.get("from_email") or receivers[0], ", ".join(receivers)
    message.set_content("\n".join(f"{name}: {value}" for name, value in notice.items()))
    with _mail_server(connection, extra) as server:
        server.send_message(message)
    log.info("mailed by %s", CONNECTION)


def _mail_server(connection: Any, extra: dict[str, Any]) -> smtplib.SMTP:
    trusted = ssl.create_default_context()
    server: smtplib.SMTP
    if extra.get("disable_ssl"):
        server = smtplib.SMTP(connection.host, connection.port or 0, timeout=TIMEOUT_SECONDS)
        if not extra.get("disable_tls"):
            server.starttls(context=trusted)
    else:
        server = smtplib.SMTP_SSL(connection.host, connection.port or 0, timeout=TIMEOUT_SECONDS, context=trusted)
    if connection.login:
        server.login(connection.login, connection.password or "")
    return server
