from tests.own_size import identity, session

__all__ = ["identity", "session"]
