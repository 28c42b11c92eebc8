"""The real server for the tests of templates and documents."""

from tests.lab.elasticsearch import elasticsearch

__all__ = ["elasticsearch"]
