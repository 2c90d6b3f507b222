"""What the services say to each other over HTTP: pydantic models only, no behaviour."""
