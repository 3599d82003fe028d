"""The entry point of vlmbench in the group `lmms_eval.models`."""

from __future__ import annotations

from typing import Any


def manifests() -> list[Any]:
    """Our one model, as lmms-eval 0.7's registry takes it; its chat form is the default there."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return [
        ModelManifest(
            model_id="vlmbench",
            simple_class_path="vlmbench.lmms.model.VlmbenchSimple",
            chat_class_path="vlmbench.lmms.model.VlmbenchChat",
        )
    ]
