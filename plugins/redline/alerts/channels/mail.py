"""E-mail by SMTP: one message, as HTML that reads well on a phone and as text."""

from __future__ import annotations

import re
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
from redline.alerts.channels.parts import Part, parts
from redline.alerts.chart import HEIGHT, WIDTH, Chart, png
from redline.alerts.message import Message

Security = Literal["none", "starttls", "tls"]

SECONDS = 20.0
_COLOURS = {
    "violation": "#b42318",
    "warning": "#b54708",
    "resolved": "#067647",
    "operations": "#344054",  # about the pipeline, no merchant's
}


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
    """The mail: text, HTML, and the chart as a picture that the HTML shows within itself."""
    domain = Address(addr_spec=_address(sender)).domain
    mail = EmailMessage()
    mail["Subject"] = message.title
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{key}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text(message))
    picture = f"chart.{key}@{domain}" if message.chart else None
    mail.add_alternative(html(message, picture), subtype="html")
    if message.chart is not None:
        shown = mail.get_body(("html",))
        assert isinstance(shown, EmailMessage)
        shown.add_related(
            png(message.chart),
            "image",
            "png",
            cid=f"<{picture}>",
            disposition="inline",
            filename="chart.png",
        )
    return mail


def text(message: Message) -> str:
    """The message as plain text, its title first."""
    return f"{message.title}\n\n{body(message)}\n"


def body(message: Message) -> str:
    """The message as plain text without its title."""
    told = []
    for part in parts(message):
        link = f"\n  {part.link}" if part.link else ""
        told.append(f"{part.label}\n  {part.text}{link}")
    if message.link:
        told.insert(_place_of_link(message), f"{message.link_label}\n  {message.link}")
    return "\n\n".join(told)


# A date is not broken over two lines.
_DATE, _WHOLE = re.compile(r"\d{4}-\d\d-\d\d"), r'<span style="white-space:nowrap">\g<0></span>'
# What a client knows of that has a dark mode; any other shows what stands in the elements.
_STYLE = """
:root{color-scheme:light dark;supported-color-schemes:light dark}
@media(prefers-color-scheme:dark){
body,.page{background:#0f141c!important}
.card{background:#1a212c!important;border-left-color:#2c3645!important;
border-right-color:#2c3645!important;border-bottom-color:#2c3645!important}
h1,.said,.said a{color:#eef1f5!important}
.label{color:#9aa4b2!important}
}"""


def html(message: Message, picture: str | None = None) -> str:
    """The message as HTML: one column, styled in place, so that every client shows it.

    Args:
        picture: the Content-ID of the chart; without one there is the chart's line of characters.
    """
    colour = _COLOURS[message.severity]
    shown = [_row(part) for part in parts(message, chart=picture is None)]
    if picture and message.chart:
        shown.insert(1, _picture(message.chart, picture))
    if message.link:
        button = (
            f'<p style="margin:18px 0"><a href="{escape(message.link)}" style="display:block;'
            "padding:12px 16px;border-radius:8px;background:#1d4ed8;color:#ffffff;"
            f'font-weight:600;text-align:center;text-decoration:none">'
            f"{escape(message.link_label)}</a></p>"
        )
        shown.insert(_place_of_link(message), button)
    return (
        f'<!doctype html><html><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(message.title)}</title><style>{_STYLE}</style></head>"
        '<body style="margin:0;padding:0;background:#f2f4f7">'
        '<div class="page" style="padding:12px;background:#f2f4f7">'
        '<div class="card" style="max-width:560px;margin:0 auto;padding:20px 16px;'
        f"background:#ffffff;border:1px solid #e4e7ec;border-top:4px solid {colour};"
        "border-radius:8px;font:16px/1.5 -apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,"
        "'PingFang SC','Microsoft YaHei',sans-serif;color:#101828;overflow-wrap:anywhere\">"
        f'<h1 style="margin:0 0 16px;font-size:19px;line-height:1.35;color:#101828">'
        f"{escape(message.title)}</h1>{''.join(shown)}</div></div></body></html>"
    )


def _place_of_link(message: Message) -> int:
    """A digest ends with its link; an alert with what it rests on."""
    is_alert = len(message.parts) > 2 and not message.shorter
    return -1 if is_alert else len(message.parts) + 1


def _row(part: Part) -> str:
    label, said = escape(part.label), _DATE.sub(_WHOLE, escape(part.text))
    if part.kind:  # an alert of a digest
        if part.link:
            label = f'<a href="{escape(part.link)}" style="color:#101828">{label}</a>'
        return (
            f'<div style="margin:0 0 12px;padding:2px 0 2px 12px;'
            f'border-left:4px solid {_COLOURS[part.kind]}">'
            f'<b class="said" style="font-size:15px;color:#101828">{label}</b><br>'
            f'<span class="label" style="font-size:14px;color:#475467">{said}</span></div>'
        )
    return (
        f'<p style="margin:0 0 14px"><b class="label" style="color:#475467;font-size:13px">{label}'
        f'</b><br><span class="said" style="color:#101828">{said}</span></p>'
    )


def _picture(chart: Chart, picture: str) -> str:
    return (
        f'<p style="margin:0 0 14px"><b class="label" style="color:#475467;font-size:13px">'
        f'{escape(chart.label)}</b><br><img src="cid:{escape(picture)}" width="{WIDTH}" '
        f'height="{HEIGHT}" alt="{escape(chart.told)}" style="display:block;width:100%;'
        f'max-width:{WIDTH}px;height:auto;margin:4px 0 0;border:0"></p>'
    )


def _address(sender: str) -> str:
    """`name@domain` of `Name <name@domain>`."""
    return sender.rpartition("<")[2].rstrip("> ")
