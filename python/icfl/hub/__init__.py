"""Fitted estimators as repositories of the Hugging Face Hub, or as folders that look the same.

A repository holds `model.safetensors`, which `icfl.save` wrote, and `README.md`, a card with the
facts. `storage` has the three calls, `card` writes the card, `pretrained` gives estimators the
calls as methods. Only what goes over the network needs huggingface_hub.
"""

from icfl.hub.storage import from_pretrained, push_to_hub, save_pretrained

__all__ = ["from_pretrained", "push_to_hub", "save_pretrained"]
