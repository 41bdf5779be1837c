"""Ray draws the jobs that batches draw, of the same folders."""

from tests.apps.batch.conftest import collected, folder, one_thread, run, working

__all__ = ["collected", "folder", "one_thread", "run", "working"]
