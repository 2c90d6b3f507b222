"""What a worker process is told on its command line, the same for every contender. The standard library only."""

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """Where to listen, where the store is, whom to call, where to write the step log, and the contender's own knobs."""

    port: int
    store: str
    shipping: str
    steplog: Path
    variant: str

    @classmethod
    def read(cls) -> "Options":
        parser = argparse.ArgumentParser()
        parser.add_argument("--port", type=int, required=True)
        parser.add_argument("--store", default="", help="address of the database")
        parser.add_argument("--shipping", required=True, help="address of the shipping stub")
        parser.add_argument("--steplog", type=Path, required=True)
        parser.add_argument("--variant", default="", help="what is different about this run")
        words = parser.parse_args()
        return cls(words.port, words.store, words.shipping, words.steplog, words.variant)

    def words(self) -> list[str]:
        return [
            *("--port", str(self.port), "--store", self.store, "--shipping", self.shipping),
            *("--steplog", str(self.steplog), "--variant", self.variant),
        ]
