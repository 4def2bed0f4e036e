"""Everything that talks to a model server: the provider interface, its adapters and their transport."""
