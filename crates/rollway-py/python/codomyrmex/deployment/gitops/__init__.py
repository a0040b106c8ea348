"""Following a Git branch."""

from .gitops import GitOpsSynchronizer

__all__ = ["GitOpsSynchronizer"]
