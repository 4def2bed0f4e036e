"""What a changelog says: read by rules alone, and how a model is asked for the same."""
