from tests.apps.cli.conftest import call, one_thread, photo, samples

__all__ = ["call", "one_thread", "photo", "samples"]
