"""The catalogue of scenarios and the tests know each other."""

from dev.scenarios import catalogue, coverage


def test_every_named_scenario_is_in_the_catalogue() -> None:
    """A test's marker names a line of docs/scenarios.md, so that `make scenarios` counts it."""
    names = [scenario.name for scenario in catalogue()]
    assert len(names) == len(set(names))
    assert set(coverage()) <= set(names)
