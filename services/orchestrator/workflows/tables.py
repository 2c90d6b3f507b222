"""The tables that transactions of workflows write to, besides the engine's own (docs/writing-a-saga.md#transactions).

Only the migrations, and the test that compares them with this module, import it. The order and the refund have none.
"""

from sqlalchemy import MetaData

metadata = MetaData()
