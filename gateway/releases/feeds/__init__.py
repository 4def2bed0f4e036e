"""The formats by which launchers that exist already are told of updates."""
