"""What the engine refuses, as HTTP knows it."""

import pytest

from services.chassis.inbound.problems import status_of
from services.orchestrator.api.errors import VersionElsewhere
from services.orchestrator.api.refusals import engine_refusals
from services.orchestrator.engine import UnknownVersion


def test_a_missing_version_is_no_missing_signal() -> None:
    """Another replica may have it: 503, which says when to come back, and what is missing here."""
    with pytest.raises(VersionElsewhere, match="version 2 of 'order'") as refused, engine_refusals():
        raise UnknownVersion("order", 2)
    assert status_of(VersionElsewhere) == 503
    assert refused.value.retry_after_s > 0
