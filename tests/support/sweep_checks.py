"""What must hold after every run, held against ledger, fleet, stock, what the customer was told, and the log."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

from services.orchestrator.engine import CannotCancel
from tests.support.sweep_report import Violation
from tests.support.sweep_run import Run
from tests.support.sweep_world import PRICE, Arrival

LOG = """
SELECT position, kind, CASE WHEN name LIKE 'awk!_%' ESCAPE '!' THEN 'awk' ELSE name END
  FROM steps WHERE saga_id = $1 ORDER BY position
"""
UNDOS = "SELECT seq, name, position, status FROM compensations WHERE saga_id = $1 ORDER BY seq"
UNDO_OF = {"reserve": "release", "charge": "void", "ship": "recall"}
"""The call that undoes a call."""
TAKES_BACK = {"release": 1, "void": 2, "look": 2, "refund": 2, "recall": 3}
"""The calls of undos, by the turn of what they undo; undoing goes down."""
FOR_EVER = timedelta(days=1)
Log = tuple[tuple[Any, ...], ...]
EFFECTS = {"reserve": ("release",), "charge": ("void", "refund"), "ship": ("recall",)}


async def tried(run: Run, log: Log | None = None) -> tuple[list[Violation], Log]:
    """Drive an order to its end and hold it against the guarantees; a run that does not end is cleared away.

    `log` is what a run without crashes has recorded; gives this one's too.
    """
    try:
        await run.drive()
        found, recorded = await _check(run, log)
        found += [Violation("G7", what) for what in await _final(run)]
    except Exception as error:  # noqa: BLE001 - whatever it is, the run has not ended as it should
        found, recorded = [Violation("G2", f"{type(error).__name__}: {str(error)[:500]}")], ()
    if found:
        await run.ground.clear()
    return found, recorded


async def _final(run: Run) -> list[str]:
    """Nothing of an ended order moves any more, whoever asks for it and however long it lies."""
    before = await run.stands()
    arrived = len(run.ground.outside.arrivals[run.order_id])
    run.again()
    try:
        await run.process.engine.operations.cancel(run.saga_id, by="alice", reason="too late")
    except CannotCancel as refusal:
        final = [] if refusal.reason == "final" else [f"a cancel after the end was told {refusal}"]
    else:
        final = ["a cancel after the end was accepted"]
    finally:
        run.ground.clock.advance(FOR_EVER)
        await run.process.work()
        await run.process.bury()
    if dict(await run.stands()) != dict(before):
        final.append("it changed after its end")
    if len(run.ground.outside.arrivals[run.order_id]) != arrived:
        final.append("it called somebody after its end")
    return final


async def _check(run: Run, log: Log | None) -> tuple[list[Violation], Log]:
    ground, path = run.ground, run.path
    stands = await run.stands()
    arrivals = ground.outside.arrivals[run.order_id]
    effects = ground.outside.effects[run.order_id]
    undos = await ground.look.fetch(UNDOS, stands["id"])
    recorded = tuple(tuple(row) for row in await ground.look.fetch(LOG, stands["id"]))
    found = [Violation("G3", f"called after its record: {call}") for call in ground.calls_after_record]
    found += [Violation("G8", f"called without a recorded intent: {call}") for call in ground.calls_without_intent]
    ground.calls_after_record.clear()
    ground.calls_without_intent.clear()
    found += [Violation("G4", what) for what in _keys(arrivals)]
    told = [status for _, status in ground.outside.told[run.order_id]]
    if told != list(path.told):
        found.append(Violation("G5", f"told {told}, not {list(path.told)}"))
    if log is not None and recorded != log:
        found.append(Violation("G5", f"recorded {recorded}, not {log}"))
    ends = (stands["phase"], stands["outcome"], stands["error_code"])
    if ends != ("ended", path.ends, path.code):
        found.append(Violation("G7", f"ended as {ends}, not as {path.ends} {path.code}"))
    found += [Violation("G8", what) for what in _undone(run, arrivals, effects, undos)]
    found += [Violation("G9", what) for what in _balance(run)]
    return found, recorded


def _keys(arrivals: list[Arrival]) -> list[str]:
    """Each attempt of a step carries one key, and an effect takes place once."""
    keys: dict[tuple[str, object], set[str]] = {}
    for call in arrivals:
        if call.key is not None:
            keys.setdefault((call.what, call.attempt), set()).add(call.key)
    return [
        f"{what} at {attempt} was called with {sorted(found)}"
        for (what, attempt), found in keys.items()
        if len(found) > 1
    ]


def _undone(run: Run, arrivals: list[Arrival], effects: list[str], undos: list[Any]) -> list[str]:
    faults = [f"{effect} took effect twice" for effect in set(effects) if effects.count(effect) > 1]
    back = [call for call in arrivals if call.what in TAKES_BACK and _takes_back(call, run.saga_id)]
    if run.path.ends == "completed":
        return [*faults, *[f"{call.what} although it completed" for call in back]]
    turns = [TAKES_BACK[call.what] for call in back]
    if any(later > earlier for earlier, later in pairwise(turns)):
        faults.append(f"undone out of order: {[call.what for call in back]}")
    for forward, undo in UNDO_OF.items():
        calls = [call for call in arrivals if call.what == forward]
        asked = any(call.what == undo for call in back)
        may_have = any(call.came_to != "refused" for call in calls)
        if may_have and not asked:
            faults.append(f"{forward} may have taken effect and was not undone")
        if not may_have and asked and not run.recorder.crashes:
            faults.append(f"{undo} without a {forward} that may have taken effect")
        if forward in effects and not any(taken in effects for taken in EFFECTS[forward]):
            faults.append(f"{forward} took effect and was not taken back: {effects}")
    owed = [f"{row['name']} is {row['status']}" for row in undos if row["status"] not in {"done", "waived"}]
    intended = {row["name"] for row in undos}
    for undo, name in (("release", "release_stock"), ("void", "void_or_refund"), ("recall", "cancel_shipment")):
        if any(call.what == undo for call in back) and name not in intended:
            faults.append(f"{undo} without a recorded intent")
    return [*faults, *owed]


def _takes_back(call: Arrival, saga_id: str) -> bool:
    """Say whether a call was made to undo something; a look may also read back what became of a step."""
    if call.attempt is None or call.attempt[0] != saga_id:
        return False
    return call.what != "look" or call.attempt[1].endswith(":undo")


def _balance(run: Run) -> list[str]:
    """Money kept is the price of what was shipped, stock neither sold nor held without, one parcel or none."""
    outside, shipped = run.ground.outside, run.path.shipped
    payments = outside.ledger.find(order_id=run.order_id)
    kept = sum(payment.captured_minor - payment.refunded_minor for payment in payments)
    parcels = [parcel for parcel in outside.fleet.find(run.order_id) if parcel.status != "cancelled"]
    stock = outside.stock.get(run.order_id, "released")
    faults = []
    if kept != (PRICE if shipped else 0):
        faults.append(f"kept {kept}")
    if len(parcels) != int(shipped):
        faults.append(f"{len(parcels)} parcels")
    if stock != ("sold" if shipped else "released"):
        faults.append(f"stock is {stock}")
    pending = [payment for payment in payments if payment.status in {"pending", "failed"} and not shipped]
    if pending:
        faults.append("a payment can still be captured")
    return faults
