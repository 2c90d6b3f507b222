"""Random programs: a workflow that interprets its input, and an oracle that says what must come of it.

A program is a list of commands, a command a small dict. Every command has a name of its own, so that the ledger tells
which of them took effect. The oracle knows no engine: it walks over the program once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine import (
    RetryPolicy,
    SagaView,
    Step,
    StepFailed,
    TerminalError,
    WorkflowContext,
    workflow,
)
from tests.support.bookings import SCRIPT, book, fails, unbook
from tests.support.engine import Cluster
from tests.support.sequences import Path
from tests.support.world import (
    ONCE,
    Clients,
    World,
    act,
    act_on,
    answer_lost,
    look,
    put_back,
    refused,
    undo,
    undo_on,
    unreachable,
)

Command = dict[str, Any]
Program = list[Command]

PATIENT = RetryPolicy(max_attempts=12, initial_s=0.5, factor=1.0, max_s=0.5, jitter=0.0)
DOUBTFUL = RetryPolicy(max_attempts=5, initial_s=0.5, factor=1.0, max_s=0.5, jitter=0.0)
"""More attempts than the tests crash, so that one arrives."""
EFFECTS = ("step", "undone", "flaky", "echo", "found")
"""Commands that take effect once, under their name."""
BOOKED = ("booked", "rebooked")
"""Transactions, which leave a row of their name; the second is rolled back at first."""
WAITS = ("sleep", "until", "awakeable", "promise", "call")
PLAIN = ("refused", "exhausted", *WAITS, "child", "send", "status", "state", "cleared", "compensation")
OWED = ("undone", "flaky", "echo", "found", "won", "lost", "beaten", "exhausted", "compensation", "call", *BOOKED)
"""Commands that owe an undo."""
FORKS = ("gather", "map")
LEAVES = (*EFFECTS, *BOOKED, *PLAIN, "won", "lost", "beaten", "fail", "no_return")


def programs() -> st.SearchStrategy[Program]:
    """Programs of a few commands, some of them gathers or maps of programs."""
    leaf = st.sampled_from(LEAVES).map(lambda kind: {"kind": kind})
    block = st.recursive(
        st.lists(leaf, min_size=1, max_size=4),
        lambda blocks: st.lists(
            st.one_of(leaf, st.builds(_forked, st.sampled_from(FORKS), st.lists(blocks, min_size=1, max_size=3))),
            min_size=1,
            max_size=5,
        ),
        max_leaves=8,
    )
    return block.map(lambda program: _named(program, iter(range(1_000))))


def _forked(kind: str, blocks: list[Program]) -> Command:
    return {"kind": kind, "blocks": blocks}


def _named(program: Program, numbers: Iterator[int], *, may_fail: bool = True) -> Program:
    """Name the commands. Within a map nothing fails: what else is done then would depend on what ended first."""
    named = []
    for command in program:
        kind = command["kind"] if may_fail or command["kind"] != "fail" else "status"
        name = f"{kind}-{next(numbers)}"
        blocks = [_named(block, numbers, may_fail=may_fail and kind != "map") for block in command.get("blocks", [])]
        named.append({"kind": kind, "name": name, "blocks": blocks})
    return named


def note(name: str, key: str) -> Message:
    """A message of the program."""
    return Message(service="session", path="/events", key=key, body="{}", name=name)


@workflow("child-program", version=1)
async def child_program(ctx: WorkflowContext, name: str) -> str:
    """One step."""
    return await ctx.run(act, name)


async def call_off(step: Step[Clients], _: str | None, name: str) -> None:
    """Undo what a called saga has completed."""
    await put_back(step, name)


@workflow("program", version=1, promises={"go": bool}, undos=[undo, undo_on, put_back, unbook, call_off])
async def program(ctx: WorkflowContext, commands: list[Any]) -> str:
    """Do what the commands say, one after another."""
    await _block(ctx, commands)
    return "ended"


async def _block(ctx: WorkflowContext, commands: Program) -> None:
    for command in commands:
        if command["kind"] in {*FORKS, "won", "lost", "beaten"}:
            await _branches(ctx, command)
        elif command["kind"] in {*EFFECTS, "refused", "exhausted"}:
            await _call(ctx, command["kind"], command["name"])
        elif command["kind"] in WAITS:
            await _wait(ctx, command["kind"], command["name"])
        elif command["kind"] in BOOKED:
            await ctx.transaction(book, command["name"], compensate=unbook, retry=PATIENT)
        else:
            _note(ctx, command["kind"], command["name"])


async def _branches(ctx: WorkflowContext, command: Command) -> None:
    name = command["name"]
    if command["kind"] == "gather":
        await ctx.gather(*(_block(ctx, block) for block in command["blocks"]))
    elif command["kind"] == "map":
        await ctx.map_concurrent(lambda block: _block(ctx, block), command["blocks"], limit=2)
    elif command["kind"] == "won":
        index, _ = await ctx.select(ctx.sleep(timedelta(days=9)), ctx.run(act, name, compensate=undo, retry=PATIENT))
        assert index == 1
    elif command["kind"] == "beaten":
        await ctx.select(ctx.run(act, name, compensate=undo, retry=PATIENT), ctx.sleep(timedelta(seconds=2)))
    else:
        index, _ = await ctx.select(ctx.sleep(timedelta(seconds=1)), ctx.awakeable(bool).result())
        await ctx.run(act_on, name, str(index), compensate=undo_on, retry=PATIENT)


async def _call(ctx: WorkflowContext, kind: str, name: str) -> None:
    if kind == "echo":
        drawn = f"{ctx.uuid()} {ctx.now()} {ctx.random()} {ctx.side_effect(drawn_here)}"
        await ctx.run(act_on, name, drawn, compensate=undo_on, retry=PATIENT)
        return
    if kind == "found":
        await ctx.run(act, name, compensate=undo, retry=DOUBTFUL, reconcile=look)
        return
    try:
        await ctx.run(
            act,
            name,
            compensate=None if kind == "step" else undo,
            retry=ONCE if kind == "exhausted" else PATIENT,
        )
    except StepFailed as error:
        if kind not in {"refused", "exhausted"}:
            raise
        if error.code != ("refused" if kind == "refused" else "step-exhausted"):
            raise


def drawn_here(clients: Clients) -> int:
    """A read that gives something else each time."""
    clients.world.notes.append(clients.replica)
    return len(clients.world.notes)


async def _wait(ctx: WorkflowContext, kind: str, name: str) -> None:
    if kind == "sleep":
        await ctx.sleep(timedelta(seconds=2))
    elif kind == "until":
        await ctx.sleep_until(ctx.now() + timedelta(seconds=3))
    elif kind == "awakeable":
        await ctx.awakeable(bool).result(timeout=timedelta(days=30))
    elif kind == "call":
        await ctx.call(child_program, key=f"{ctx.key}/{name}", input=name, compensate=call_off)
    else:
        await ctx.promise("go").result()


def _note(ctx: WorkflowContext, kind: str, name: str) -> None:
    if kind == "child":
        ctx.start(child_program, key=f"{ctx.key}/{name}", input=name)
    elif kind == "send":
        ctx.send(note(name, ctx.key))
    elif kind == "status":
        ctx.set_status(name)
    elif kind in {"state", "cleared"}:
        _keep(ctx, kind, name)
    elif kind == "compensation":
        ctx.add_compensation(put_back, name)
    elif kind == "no_return":
        ctx.no_return()
    else:
        raise TerminalError("failed-on-purpose", name)


def _keep(ctx: WorkflowContext, kind: str, name: str) -> None:
    """Look at what is kept here, and change it: a replay that sees something else diverges."""
    seen = f"{len(ctx.state.names())} and {ctx.state.get('last', str)} before {name}"
    ctx.state.set(seen, value=True)
    ctx.state.clear(seen)
    ctx.state.set("last", name)
    ctx.state.set(name, name)
    if kind == "cleared":
        ctx.state.clear(name)
    assert (ctx.state.get("last", str), ctx.state.get(name, str)) == (name, None if kind == "cleared" else name)


@dataclass
class Oracle:
    """What must come of a program: effects, state, messages, what an unwinding owes; paths order what is ordered."""

    effects: list[str] = field(default_factory=list)
    booked: list[str] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=dict)
    children: list[str] = field(default_factory=list)
    messages: list[tuple[Path, str]] = field(default_factory=list)
    owed: list[tuple[Path, str]] = field(default_factory=list)
    doubtful: list[tuple[Path, str]] = field(default_factory=list)
    uncertain: set[str] = field(default_factory=set)
    no_return: bool = False

    def walk(self, commands: Program, path: Path = ()) -> bool:
        """Go over a block; say whether it failed."""
        for index, command in enumerate(commands):
            kind, name, here = command["kind"], command["name"], (*path, index)
            if kind == "fail":
                return True
            failures = [self.walk(block, (*here, branch)) for branch, block in enumerate(command["blocks"])]
            if any(failures):
                return True
            if kind in {*EFFECTS, "won", "lost", "exhausted"}:
                self.effects.append(name)
            if kind == "exhausted":  # a crash between the intent and its only call leaves it without effect
                self.uncertain.add(name)
            self.booked += [name] if kind in BOOKED else []
            self.state |= {"last": name} if kind == "cleared" else {"last": name, name: name} if kind == "state" else {}
            if kind in OWED:
                self.owed.append((here, name))
            if kind == "refused":  # a crash during a call leaves its undo owed, also if the repeat is refused
                self.doubtful.append((here, name))
            if kind in {"child", "call"}:
                self.children.append(name)
            if kind == "send":
                self.messages.append((here, name))
            self.no_return |= kind == "no_return"
        return False


def script_faults(world: World, commands: Program) -> None:
    """Let the outside world be as unkind as the commands say."""
    for command in commands:
        for block in command["blocks"]:
            script_faults(world, block)
        if command["kind"] == "flaky":
            world.script(command["name"], unreachable(), answer_lost())
        elif command["kind"] == "found":
            world.script(command["name"], *[answer_lost()] * 5)
        elif command["kind"] == "beaten":
            world.script(command["name"], *[unreachable()] * 20)
        elif command["kind"] == "refused":
            world.script(command["name"], refused())
        elif command["kind"] == "rebooked":
            SCRIPT.add(command["name"], fails(lambda: ValueError("not yet")))
        elif command["kind"] == "exhausted":
            world.script(command["name"], answer_lost())


async def answered(cluster: Cluster, view: SagaView) -> bool:
    """Answer what a saga waits for; say whether there was anything."""
    settled = False
    for wait in view.waiting_on:
        if wait.kind == "promise":
            await cluster.ask(lambda ops: ops.resolve_promise(view.saga_id, "go", value=True, by="ann"))
            settled = True
        elif wait.kind == "awakeable" and wait.until is not None:  # the others are there to lose a select
            await cluster.resolve(str(wait.id), value=True)
            settled = True
    return settled
