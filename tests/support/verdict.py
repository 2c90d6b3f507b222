"""What must have come of a random program: effects, undos, keys, messages and its end, held against the oracle."""

from services.orchestrator.engine import SagaView
from tests.support.bookings import Bookings
from tests.support.engine import Cluster, messages_of
from tests.support.programs import Oracle, Program
from tests.support.sequences import in_sequence


async def contradictions(
    cluster: Cluster, view: SagaView, commands: Program, *, crashed: bool, restarted: bool = False
) -> tuple[list[str], list[str]]:
    """Give what contradicts the program in the ledger and the outbox, and the children that it must have had.

    After a restart a refused step is called as if for the first time: if that is in doubt, its undo comes by then.
    """
    oracle = Oracle()
    failed = oracle.walk(commands)
    happened = cluster.world.happened(view.saga_id)
    forward = [name for name in happened if not name.startswith("undo ")]
    backward = [name.removeprefix("undo ") for name in happened if name.startswith("undo ")]
    wrong = []
    if sorted(set(forward) | oracle.uncertain) != sorted(oracle.effects) or len(forward) != len(set(forward)):
        wrong.append(f"effects {forward}, expected {oracle.effects}")
    wrong += await _booked_otherwise(cluster, view.saga_id, oracle)
    wrong += await _kept_otherwise(cluster, view.saga_id, oracle)
    keys = {(call.name, call.key) for call in cluster.world.calls_of(view.saga_id)}
    if len(keys) != len({name for name, _ in keys}):
        wrong.append(f"a call under two keys: {sorted(keys)}")
    if not failed:
        if (view.status, view.output, backward) != ("completed", "ended", []):
            wrong.append(f"not completed: {view.explanation}; undone {backward}")
    elif oracle.no_return:
        if (view.status, backward) != ("stuck", []):
            wrong.append(f"not stuck: {view.explanation}; undone {backward}")
    else:
        doubtful = [owed for owed in oracle.doubtful if owed[1] in backward]
        if view.status != "failed" or (doubtful and not crashed):
            wrong.append(f"not failed: {view.explanation}; undone {backward}")
        owed = oracle.owed if restarted else oracle.owed + doubtful
        late = {name for _, name in doubtful} if restarted else set()
        once = len(backward) == len(set(backward))
        if not once or not in_sequence([name for name in backward if name not in late], owed, backwards=True):
            wrong.append(f"undone {backward}, owed {oracle.owed + doubtful}")
    wrong += await _called_again(cluster, view.saga_id)
    messages = await messages_of(cluster, view.key)
    if not in_sequence(messages, oracle.messages):
        wrong.append(f"messages {messages}, expected {oracle.messages}")
    return wrong, oracle.children


async def _kept_otherwise(cluster: Cluster, saga_id: str, oracle: Oracle) -> list[str]:
    """Find state that is not what the program has set last."""
    state = (await cluster.view(saga_id)).state
    return [] if state == oracle.state else [f"state {state}, expected {oracle.state}"]


async def _called_again(cluster: Cluster, saga_id: str) -> list[str]:
    """Find calls of a step after its record: attempts are numbered, and the record has the number of the last."""
    calls = [call for call in cluster.world.calls_of(saga_id) if not call.name.startswith("read ")]
    wrong = []
    for step in await cluster.operations.steps(saga_id):
        numbers = [call.attempt for call in calls if call.key == f"{saga_id}:{step.position}"]
        recorded = step.kind == "step" and step.finished_at is not None
        if recorded and (len(numbers) != len(set(numbers)) or max(numbers, default=0) > step.attempts):
            wrong.append(f"{step.name} was recorded after attempt {step.attempts}, and called as {numbers}")
    return wrong


async def _booked_otherwise(cluster: Cluster, saga_id: str, oracle: Oracle) -> list[str]:
    """Find transactions that have left no row, or more than one, or one that is not what they have recorded."""
    rows = await Bookings(cluster.replicas[0].database).of(saga_id)
    if sorted(rows) != sorted(oracle.booked) or any(len(values) != 1 for values in rows.values()):
        return [f"rows {rows}, expected one of each of {oracle.booked}"]
    lines = await cluster.operations.steps(saga_id)
    recorded = sorted(line.output for line in lines if line.kind == "transaction" and line.status == "done")
    written = sorted(value for values in rows.values() for value in values)
    return [] if recorded == written else [f"rows {written}, recorded {recorded}"]
