-- Run once, by the entry point of a new PostgreSQL container: one database for each service.
CREATE DATABASE session;
CREATE DATABASE shipping;
CREATE DATABASE orchestrator;
