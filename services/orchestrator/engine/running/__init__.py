"""One turn of one saga: running its code, making its calls, and writing what came of it.

Read it in this order:

- `turns`: one turn, from a lease to its end; it hands the saga to the executor, or to the compensator.
- `executor`: the loop of a saga that goes forward; `compensator`: the undos of a saga that unwinds.
- `run`: a saga in memory, with its code (`driver`), its log (`log`) and what is not written yet (`pending`).
- `journal`: answers each primitive of the context from the log, or records it.
- `steps`: which calls may start, and what their results mean; `attempts`: one attempt of a call; `transactions`.
- `committer`: group commit of flushes; `endings`: the flushes by which a saga ends or gets stuck.
- `active`: the turns of a replica; `residents`: the suspended runs that it keeps in memory.
"""
