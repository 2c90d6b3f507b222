"""The pages say what the code says: links, excerpts, settings, metrics, tables, states, crash points, tests."""

import inspect
import json
import re
from functools import cache

import pytest

from services.chassis.hooks import ChassisHooks
from services.chassis.settings import ChassisSettings
from services.orchestrator.engine import EngineHooks, WorkflowContext
from services.orchestrator.engine.model.states import TRANSITIONS
from services.orchestrator.engine.store.tables import metadata
from services.orchestrator.settings import OrchestratorSettings
from services.session.settings import SessionSettings
from services.shipping.settings import ShippingSettings
from tests.support.pages import anchors, blocks, code_words, links, pages, read, rows, section
from tests.support.tree import ROOT, python_files

OPERATIONS = "docs/operations.md"
ENGINE = "docs/engine.md"
AUTHORS = "docs/writing-a-saga.md"
PYTHON = [(page, block) for page in pages() for block in blocks(page.read_text()) if block.language == "python"]
MADE_BY_F_STRING = frozenset({"saga.completed", "saga.failed", "saga.cancelled", "saga.stuck"})
MADE_BY_TYPE = frozenset({"payment.succeeded", "payment.failed"})


@cache
def product() -> str:
    """The text of everything that runs in production."""
    return "\n".join(path.read_text() for path in python_files("services"))


def first_column(text: str) -> set[str]:
    """The words set as code in the first cells of a text's tables."""
    return {word for row in rows(text) for word in code_words(row[0])}


def calls_in(cell: str) -> set[tuple[str, str]]:
    """The calls of a cell, as method and path; `PUT` and `DELETE /there` are two, a path alone has the last method."""
    found: set[tuple[str, str]] = set()
    methods: list[str] = []
    is_complete = True
    for word in code_words(cell):
        call = re.fullmatch(r"([A-Z]*) ?(/\S*)?", word)
        if call is None:
            continue
        method, path = call.groups()
        if method:
            methods = [method] if is_complete else [*methods, method]
            is_complete = False
        if path:
            found |= {(one, path) for one in methods}
            is_complete = True
    return found


def test_every_link_leads_somewhere() -> None:
    """A relative link names a file that is there, and a heading that it has."""
    broken = []
    for page in pages():
        for target in links(page.read_text()):
            if target.startswith(("http://", "https://", "mailto:")):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.is_file() or (anchor and anchor not in anchors(file.read_text())):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_every_page_can_be_reached_from_the_readme() -> None:
    """Nothing is written that nobody finds."""
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        waiting += [(page.parent / target.partition("#")[0]).resolve() for target in links(page.read_text())]
    assert set(pages()) <= reached


def test_excerpts_are_the_code() -> None:
    """A block that says where it is from stands there, letter for letter; the README shows code before line 30."""
    shown = [
        (page, block, found[1])
        for page, block in PYTHON
        if (found := re.fullmatch(r"<!-- from (\S+) -->", block.mark)) is not None
    ]
    assert shown
    for page, block, source in shown:
        assert block.text in (ROOT / source).read_text(), f"{page.name}:{block.line} is not in {source}"
    assert min(block.line for page, block, _ in shown if page.name == "README.md") < 30


def test_python_in_the_pages_compiles() -> None:
    """No block of Python is a sketch."""
    for page, block in PYTHON:
        compile(block.text, f"{page.name}:{block.line}", "exec")


def test_diagrams_can_be_drawn() -> None:
    """A semicolon would end a statement of Mermaid in the middle of a sentence."""
    diagrams = [block.text for page in pages() for block in blocks(page.read_text()) if block.language == "mermaid"]
    assert diagrams
    assert not [diagram for diagram in diagrams if ";" in diagram]


def test_commands_named_are_commands() -> None:
    """Every `make …` that a page names is a target, and the README names every target but the trivial ones."""
    targets = set(re.findall(r"^([a-z-]+):.*## ", read("Makefile"), flags=re.MULTILINE))
    named = {
        name
        for page in pages()
        for name in re.findall(r"(?:`|^|\$\(|&& )make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert named <= targets
    assert targets - set(re.findall(r"make ([a-z-]+)", read("README.md"))) <= {"help", "format", "lock"}


@pytest.mark.parametrize(
    ("title", "settings"),
    [
        ("Every service:", ChassisSettings),
        ("Orchestrator:", OrchestratorSettings),
        ("Session:", SessionSettings),
        ("Shipping:", ShippingSettings),
    ],
)
def test_the_settings_are_the_services_settings(title: str, settings: type[ChassisSettings]) -> None:
    """The table of each service names each of its own settings, and no other, with its default."""
    table = section(read(OPERATIONS), "Settings").split(f"\n{title}\n")[1].lstrip().partition("\n\n")[0]
    described = {code_words(row[0])[0]: row[1] for row in rows(table)}
    inherited = set(ChassisSettings.model_fields) if settings is not ChassisSettings else set()
    fields = {
        str(field.validation_alias or name).upper(): field
        for name, field in settings.model_fields.items()
        if name not in inherited
    }
    assert set(described) == set(fields)
    for name, field in fields.items():
        if isinstance(field.default, (bool, int, float, str)):
            shown = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
            assert described[name] == shown, name


def test_the_stacks_settings_are_read() -> None:
    """What the page says of the development stack is what it reads."""
    layout = read("dev/layout.py")
    assert all(f'"{name}"' in layout for name in first_column(section(read(OPERATIONS), "Starting")))


def test_the_metrics_are_the_services_metrics() -> None:
    """The tables of metrics name each metric that a service makes, and no other."""
    made = set(re.findall(r"\.(?:counter|gauge|histogram)\(\s*\"([a-z_]+)\"", product()))
    assert first_column(section(read(OPERATIONS), "Metrics")) == made


def test_the_named_events_are_logged() -> None:
    """Each event of the page is one that a service logs."""
    events = first_column(section(read(OPERATIONS), "Logs and named events"))
    for event in events - MADE_BY_F_STRING - MADE_BY_TYPE:
        assert f'"{event}"' in product(), event
    assert 'tell(f"saga.{after}"' in product()
    assert all(f'Literal["{event}"]' in product() for event in MADE_BY_TYPE)


def test_the_alarms_are_sounded() -> None:
    """Each kind of alarm that the page explains is one that the code sounds, and the other way round."""
    explained = first_column(section(read(OPERATIONS), "Alarms"))
    assert all(f'"{kind}"' in product() for kind in explained)
    sounded = set(re.findall(r"(?:[._]alarm|Alarm)\(\s*\"([a-z_-]+)\"", product()))
    sounded |= set(re.findall(r"alarm\(conn, resources, \"([a-z_-]+)\"", product()))
    assert sounded <= explained


def test_the_reasons_to_be_stuck_are_explained() -> None:
    """Each reason that the engine gives has a line that says what helps."""
    explained = first_column(section(read(OPERATIONS), "Stuck sagas"))
    given = set(re.findall(r"Attention\(\s*\"([a-z-]+)\"", product()))
    given |= set(re.findall(r"_get_stuck\([^)]*?\"([a-z]+-[a-z]+)\"", product()))
    assert given
    assert given <= explained


def test_the_tables_are_the_schemas() -> None:
    """The page has each table of the orchestrator's database, and no other."""
    assert first_column(section(read(ENGINE), "Tables")) == set(metadata.tables)


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_tiers_are_the_folders(page: str) -> None:
    """The tree on the page names each tier of tests, and no other."""
    (line,) = re.findall(r"^tests/ +(.+)$", read(page), flags=re.MULTILINE)
    tiers = {path.relative_to(ROOT / "tests").parts[0] for path in python_files("tests") if path.match("test_*.py")}
    assert set(re.findall(r"\w+", line)) - {"support"} == tiers


def test_the_diagram_is_the_state_machine() -> None:
    """The diagram draws each change of state by its cause, and no other."""
    (diagram,) = [block.text for block in blocks(read(ENGINE)) if block.language == "mermaid"]
    drawn = {
        (before, after, cause)
        for before, after, cause in re.findall(r"^ *(\w+) --> (\w+) : (.+?) *$", diagram, flags=re.MULTILINE)
    }
    known = {
        (f"{before[0]}_{before[1]}", f"{after[0]}_{after[1]}", cause)
        for cause, changes in TRANSITIONS.items()
        for before, after in changes
    }
    assert drawn == known


@pytest.mark.parametrize("service", ["session", "shipping"])
def test_the_calls_between_the_services_are_listed(service: str) -> None:
    """The table of messages has each route of session and shipping that only another service may call."""
    table = rows(section(read("docs/architecture.md"), "Messages between the services"))
    listed = {call for row in table if row[0].endswith(f" → {service}") for call in calls_in(row[2])}
    routes = {
        (method.upper(), path)
        for path, item in json.loads(read(f"docs/openapi/{service}.json"))["paths"].items()
        for method, operation in item.items()
        if operation.get("security") == [{"HTTPBearer": ["service"]}]
    }
    assert routes
    assert listed == routes


def test_the_crash_points_are_the_hooks() -> None:
    """The page lists each method of the hooks, and no other."""
    hooks = {
        name
        for kind in (EngineHooks, ChassisHooks)
        for name, _ in inspect.getmembers(kind, callable)
        if not name.startswith("_")
    }
    assert first_column(section(read(ENGINE), "Crash points")) == hooks


def test_what_the_context_offers_is_listed() -> None:
    """The authors' page lists each thing that a workflow may ask its context for, and no other."""
    offered = {name for name, _ in inspect.getmembers(WorkflowContext) if not name.startswith("_")}
    fields = set(re.findall(r"self\.([a-z]\w*) = ", inspect.getsource(WorkflowContext.__init__)))
    listed = [word for row in rows(section(read(AUTHORS), "What the context offers")) for word in code_words(row[0])]
    assert sorted(listed) == sorted(offered | fields)


def test_tests_that_are_named_exist() -> None:
    """A promise, or a decision, names tests and files of tests that are there."""
    promising = [page for page in pages() if page.parent.name == "adr" or page.name == "guarantees.md"]
    words = {word for page in promising for word in code_words(page.read_text())}
    tests = {name for path in python_files("tests") for name in re.findall(r"def (test_\w+)\(", path.read_text())}
    missing = {word for word in words if word.startswith("tests/") and not (ROOT / word).exists()}
    missing |= {word for word in words if re.fullmatch(r"test_\w+", word) and word not in tests}
    assert not missing


def test_every_guarantee_is_listed() -> None:
    """The page has each guarantee of the catalogue of scenarios."""
    catalogue = re.findall(r"^- (G\d+):", read("docs/scenarios.md"), flags=re.MULTILINE)
    assert [row[0] for row in rows(section(read("docs/guarantees.md"), "Promises"))] == catalogue


def test_every_decision_is_complete_and_listed() -> None:
    """Each decision has its five parts, and a line in the list."""
    listed = links(read("docs/adr/README.md"))
    for page in (path for path in pages() if re.match(r"\d{4}-", path.name)):
        headings = re.findall(r"^## (.+)$", page.read_text(), flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "Alternatives", "Enforced by"], page.name
        assert page.name in listed
