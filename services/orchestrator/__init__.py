"""The orchestrator: runs the sagas of orders and takes the callbacks that they wait for."""
