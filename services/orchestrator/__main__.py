"""`python -m services.orchestrator`: run the orchestrator."""

from services.chassis import garbage

garbage.put_off()

from services.chassis.serving import run  # noqa: E402 - nothing that is loaded from here on is garbage
from services.orchestrator.settings import OrchestratorSettings  # noqa: E402

if __name__ == "__main__":
    run("orchestrator", OrchestratorSettings.load)
