"""Why: one record's story, from the policy to the events and orders behind its numbers.

`python -m redline.explain [RECORD]` prints it; without a record it lists those that are open.
"""

from __future__ import annotations

from redline.explain.model import Story
from redline.explain.telling import open_records, story

__all__ = ["Story", "open_records", "story"]
