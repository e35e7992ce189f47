"""E-mail by SMTP: one message, as HTML that reads well on a phone and as text."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from contextlib import closing, suppress
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate
from html import escape
from typing import Literal

from redline.alerts.channels.outcome import Outcome
from redline.alerts.message import Message

Security = Literal["none", "starttls", "tls"]

SECONDS = 20.0
_COLOURS = {"violation": "#b42318", "warning": "#b54708", "resolved": "#067647"}


def send(
    message: Message,
    key: str,
    *,
    host: str,
    port: int,
    security: Security,
    sender: str,
    to: Sequence[str],
    user: str | None = None,
    password: str | None = None,
    ca_file: str | None = None,
    seconds: float = SECONDS,
) -> Outcome:
    """Send a message to its recipients.

    The key is part of the Message-ID, so that mail systems know a repetition.

    Args:
        ca_file: certificates that the server's is held against, besides the system's.
    """
    mail = compose(message, key, sender, to)
    try:
        context = None if security == "none" else ssl.create_default_context()
        if context is not None and ca_file:
            context.load_verify_locations(ca_file)
        with closing(
            smtplib.SMTP_SSL(host, port, timeout=seconds, context=context)
            if security == "tls"
            else smtplib.SMTP(host, port, timeout=seconds)
        ) as server:
            if security == "starttls":
                server.starttls(context=context)
            if user is not None and password is not None:
                server.login(user, password)
            refused = server.send_message(mail)
            with suppress(OSError, smtplib.SMTPException):  # it was taken, whatever comes now
                server.quit()
    except smtplib.SMTPAuthenticationError as error:
        return Outcome("refused", f"SMTP {error.smtp_code}: user and password are not taken")
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        verdict: Literal["later", "refused"] = "later" if min(codes) < 500 else "refused"
        return Outcome(verdict, f"SMTP {min(codes)}: no recipient is taken")
    except smtplib.SMTPResponseException as error:
        verdict = "refused" if error.smtp_code >= 500 else "later"
        return Outcome(verdict, f"SMTP {error.smtp_code}")
    except smtplib.SMTPNotSupportedError:
        return Outcome("refused", f"the server does not offer {security} or a login")
    except ssl.SSLCertVerificationError:
        return Outcome("later", "the server's certificate is not valid")
    except (OSError, smtplib.SMTPException) as error:
        return Outcome("later", f"the connection broke: {type(error).__name__}")
    # Those that were taken have it: to send it to them again would not mend the others.
    told = f", {len(refused)} of {len(to)} recipients refused" if refused else ""
    return Outcome("sent", f"SMTP 250{told}")


def compose(message: Message, key: str, sender: str, to: Sequence[str]) -> EmailMessage:
    """The mail, with text and HTML."""
    mail = EmailMessage()
    mail["Subject"] = message.title
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{key}@{Address(addr_spec=_address(sender)).domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text(message))
    mail.add_alternative(html(message), subtype="html")
    return mail


def text(message: Message) -> str:
    """The message as plain text."""
    parts = "\n\n".join(f"{label}\n  {said}" for label, said in message.parts)
    return f"{message.title}\n\n{parts}\n"


def html(message: Message) -> str:
    """The message as HTML: one column, no picture, no style sheet: every client shows it."""
    colour = _COLOURS[message.severity]
    parts = "".join(
        f'<p style="margin:0 0 16px"><b style="color:#475467;font-size:13px">{escape(label)}</b>'
        f"<br>{escape(said)}</p>"
        for label, said in message.parts
    )
    return (
        '<!doctype html><html><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"></head>'
        '<body style="margin:0;padding:16px;font:16px/1.5 sans-serif;color:#101828">'
        '<div style="max-width:560px;margin:0 auto">'
        f'<h1 style="margin:0 0 16px;padding:0 0 0 12px;font-size:18px;line-height:1.35;'
        f'border-left:4px solid {colour}">{escape(message.title)}</h1>{parts}</div></body></html>'
    )


def _address(sender: str) -> str:
    """`name@domain` of `Name <name@domain>`."""
    return sender.rpartition("<")[2].rstrip("> ")
