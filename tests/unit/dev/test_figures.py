"""The recorder of figures: what is written down of a run, and how often a falsifier tries."""

from pathlib import Path

import pytest

from dev import figures
from dev.figures import Figure, best, figure, gathered, table
from tests.support.figures import dice, trials


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(figures.FOLDER_VARIABLE, str(tmp_path))


@pytest.mark.usefixtures("_elsewhere")
def test_a_figure_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure names its test without parameters, its seed and its commit, and is found among those of its run."""
    monkeypatch.setenv(figures.RUN_VARIABLE, "this run")
    monkeypatch.setenv(figures.SEED_VARIABLE, "17")
    made = figure("G7", trials=200, violations=0, what="cancels")
    assert (made.test, made.seed, made.trials) == ("test_a_figure_is_written_down", "17", 200)
    monkeypatch.setenv(figures.RUN_VARIABLE, "another run")
    other = figure("G11", trials=5, violations=1, what="races", test="make soak", seed=3, measured="p99 2 ms")
    assert gathered("this run") == [made]
    assert set(gathered()) == {made, other}
    assert [line.split()[:2] for line in table([other])] == [["G11", "5"]]
    assert "races: p99 2 ms" in table([other])[0]


@pytest.mark.parametrize(("factor", "count"), [("", 20), ("1", 20), ("2.5", 50), ("0.001", 1), ("full", 2_000)])
def test_trials_are_scaled(monkeypatch: pytest.MonkeyPatch, factor: str, count: int) -> None:
    """TRIALS multiplies the usual number, never to nothing; full means the figure to reach."""
    monkeypatch.setenv("TRIALS", factor)
    assert trials(20, 2_000) == count


def test_a_seed_repeats_its_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under one seed the dice of a falsifier fall alike, those of two falsifiers do not."""
    monkeypatch.setenv(figures.SEED_VARIABLE, "1")
    assert dice("a").random() == dice("a").random() != dice("b").random()
    rolled = dice("a").random()
    monkeypatch.setenv(figures.SEED_VARIABLE, "2")
    assert dice("a").random() != rolled


def test_each_thing_tried_has_its_figure() -> None:
    """Two tests of a guarantee, and two things that one of them tries, each keep a figure, in the order of the ids."""
    tried = (("G11", "test_a", "x"), ("G2", "test_a", "x"), ("G2", "test_a", "y"), ("G2", "test_b", "x"))
    made = [Figure(guarantee, test, 5, 0, what, "1", "2026", "abc") for guarantee, test, what in tried]
    assert [one.id for one in best(made)] == ["G2", "G2", "G2", "G11"]
