"""Projects, channels, versions and builds, and which update a launcher may take. Knows nothing of AI."""
