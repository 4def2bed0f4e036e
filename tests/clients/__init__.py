"""Real clients from their registries against the gateway; see README.md beside this file."""
