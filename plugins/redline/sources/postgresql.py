"""`postgresql://`: as `postgres://`, in libpq's other spelling."""

from redline.sources.postgres import open_source

__all__ = ["open_source"]
