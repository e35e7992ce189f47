"""What became of one attempt to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["sent", "later", "refused"]


@dataclass(frozen=True)
class Outcome:
    """What a receiver made of a message.

    Attributes:
        verdict: `sent`; `later`: it may be taken when tried again; `refused`: it never will.
        response: what the receiver said, for a person; without secrets.
        retry_after: seconds for which the receiver wants to hear nothing.
    """

    verdict: Verdict
    response: str
    retry_after: float | None = None
