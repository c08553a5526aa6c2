"""databourse: a market for training data.

The base install is what a training team needs: `open_manifest`. Everything else is imported by the
commands that need it, so that `import databourse` stays under a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from databourse.manifests import Manifest, open_manifest

__all__ = ["Manifest", "__version__", "open_manifest"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in {"Manifest", "open_manifest"}:
        from databourse import manifests

        return getattr(manifests, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
