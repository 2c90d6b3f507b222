"""`python -m services.orchestrator`: run the orchestrator."""

from services.chassis import loading

loading.begin_serving()

from services.chassis.serving import run  # noqa: E402 - loading has just begun
from services.orchestrator.settings import OrchestratorSettings  # noqa: E402 - likewise

if __name__ == "__main__":
    run("orchestrator", OrchestratorSettings.load)
