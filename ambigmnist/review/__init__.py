"""The page in which a person judges images, and what is done with what the person decided."""

from ambigmnist.review.applying import apply_review, sample_weight, soft_labels
from ambigmnist.review.file import Decision, Pin, Review, load_review
from ambigmnist.review.merging import MergedReviews, merge_reviews
from ambigmnist.review.reporting import Report, report

__all__ = [
    "Decision",
    "MergedReviews",
    "Pin",
    "Report",
    "Review",
    "apply_review",
    "load_review",
    "merge_reviews",
    "report",
    "sample_weight",
    "soft_labels",
]
