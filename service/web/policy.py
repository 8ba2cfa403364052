"""Content security policies: what a browser may load for a report (nothing) and for a page (this origin only)."""

import base64
import hashlib
import re
from typing import Final

PAGE_META_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'"
)
PAGE_POLICY: Final = f"{PAGE_META_POLICY}; frame-ancestors 'none'"
"""The value of the `Content-Security-Policy` header of every page of the service."""


def digest_source(text: str) -> str:
    """Return the CSP source that allows exactly this text as a style block: `'sha256-...'`."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def report_meta_policy(style: str) -> str:
    """Return the policy that a report carries in its own head; `style` is the text of its one style block."""
    return f"default-src 'none'; img-src data:; style-src {digest_source(style)}; base-uri 'none'; form-action 'none'"


def report_header_policy(document: str) -> str:
    """Return the header value to serve a report with: the policy of its own style block, and no framing.

    The digest is taken from the document, so that a report of an earlier version keeps its looks.

    Args:
        document: the report's HTML.

    Raises:
        ValueError: the document has not exactly one style block.
    """
    styles = re.findall(r"<style>(.*?)</style>", document, flags=re.DOTALL)
    if len(styles) != 1:
        raise ValueError(f"report: expected exactly one style block, got {len(styles)}; render it again from its JSON")
    return f"{report_meta_policy(styles[0])}; frame-ancestors 'none'"
