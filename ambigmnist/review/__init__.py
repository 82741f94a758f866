"""What a person decided about images: read it, merge several people's, apply it to the data."""

from ambigmnist.review.applying import apply_review, sample_weight, soft_labels
from ambigmnist.review.file import Decision, Pin, Review, load_review
from ambigmnist.review.merging import MergedReviews, merge_reviews

__all__ = [
    "Decision",
    "MergedReviews",
    "Pin",
    "Review",
    "apply_review",
    "load_review",
    "merge_reviews",
    "sample_weight",
    "soft_labels",
]
