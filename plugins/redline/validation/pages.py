"""Make Great Expectations' pages stand on their own.

As written they fetch styles, scripts and a logo from other hosts: without a network the front
page is empty, and with one a page about merchants runs strangers' scripts.
"""

from __future__ import annotations

import re
from pathlib import Path

_FETCHED = re.compile(
    r"<link\b[^>]*\bhref=\"https?:[^>]*>"
    r"|<script\b[^>]*\bsrc=\"https?:[^>]*>\s*</script>"
    r"|<img\b[^>]*\bsrc=\"https?:[^>]*>",
    re.IGNORECASE | re.DOTALL,
)
_STYLE = """
<style>
  body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 72rem }
  table { border-collapse: collapse; margin: .5rem 0 1rem; width: 100% }
  td, th { border: 1px solid #d5d9de; padding: .3rem .6rem; text-align: left; vertical-align: top }
  h4, h5 { margin: 1.5rem 0 .3rem; overflow-wrap: anywhere }
  a { color: #0b5cad }
  footer { display: none }
</style>
</head>"""


def make_self_contained(site: Path) -> None:
    """Cut what the site's pages fetch, and let its front page lead to the one result there is."""
    for page in site.rglob("*.html"):
        text = _FETCHED.sub("", page.read_text())
        page.write_text(text.replace("</head>", _STYLE, 1))
    (result,) = (site / "validations").rglob("*.html")
    to = result.relative_to(site).as_posix()
    (site / "index.html").write_text(
        "<!doctype html><meta charset='utf-8'><title>Data Docs</title>"
        f"<meta http-equiv='refresh' content='0; url={to}'><a href='{to}'>The result</a>\n"
    )
