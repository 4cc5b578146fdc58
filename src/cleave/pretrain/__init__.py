"""Self-supervised pre-training of the small backbone that cleave can learn on its user's photos.

Sits between `io` and the plugin packages: `backbones` loads what is trained here, and nothing here
knows a plugin. Only `config` is free of torch, so that a section can be validated cheaply.
"""
