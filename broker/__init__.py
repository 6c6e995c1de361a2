"""Shared-data interface broker: see ARCHITECTURE.md for the way in."""

from importlib.metadata import version as _version

__version__ = _version("shared-data-broker")
