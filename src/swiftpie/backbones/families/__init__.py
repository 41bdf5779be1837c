"""Families of networks, one or several a file; see `swiftpie.backbones.components.Family`."""
