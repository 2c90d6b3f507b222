"""The routes of the orchestrator: they translate HTTP into operations of the engine, and decide nothing."""
