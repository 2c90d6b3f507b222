"""`python -m services.orchestrator`: run the orchestrator."""

from services.chassis.serving import run
from services.orchestrator.settings import OrchestratorSettings

if __name__ == "__main__":
    run("orchestrator", OrchestratorSettings.load)
