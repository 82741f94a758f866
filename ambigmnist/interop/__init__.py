"""To other tools and back: tables, JSON Lines, Label Studio, folders of images, contact sheets."""

from ambigmnist.interop.contact import contact_sheet
from ambigmnist.interop.folders import load_images, save_images
from ambigmnist.interop.label_studio import (
    from_label_studio,
    label_studio_config,
    to_label_studio,
)
from ambigmnist.interop.tables import cleanlab_columns, review_columns, to_jsonl

__all__ = [
    "cleanlab_columns",
    "contact_sheet",
    "from_label_studio",
    "label_studio_config",
    "load_images",
    "review_columns",
    "save_images",
    "to_jsonl",
    "to_label_studio",
]
