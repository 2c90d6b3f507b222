"""The tables of workflows: what their transactions write, beside the engine's own (docs/engine.md#transactions).

Who serves loads none of this: it is for the migrations, and for the test that compares them with what is declared here.
The order and the refund have none.
"""

from sqlalchemy import MetaData

metadata = MetaData()
