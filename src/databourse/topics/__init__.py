"""Topics: the parts of a snapshot within which signals are standardised and prices compete."""

from __future__ import annotations

from databourse.topics.clusters import cluster_topics, default_topic_count
from databourse.topics.given import OTHER, UNLABELLED, label_topics
from databourse.topics.partition import Topics, topics_from_names

__all__ = [
    "OTHER",
    "UNLABELLED",
    "Topics",
    "cluster_topics",
    "default_topic_count",
    "label_topics",
    "topics_from_names",
]
