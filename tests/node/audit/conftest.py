"""A venue in this process, for the auditor's tests."""

from tests.node.venue.conftest import start_venue, venue

__all__ = ["start_venue", "venue"]
