"""The bodies of calls between the services: pydantic models only, no behaviour."""
