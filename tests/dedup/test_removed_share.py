import pytest

from databourse.dedup.removed_share import (
    DuplicateGroup,
    largest_groups,
    over_allowed_share,
    removed_share_error,
)
from databourse.errors import InputError


def test_a_part_that_loses_exactly_the_allowed_share_passes():
    assert over_allowed_share({"web": 5}, {"web": 10, "books": 3}, allowed_share=0.5) == []
    assert over_allowed_share({"web": 5}, {"web": 10}, allowed_share=0.49) == ["web"]


def test_the_part_that_loses_most_comes_first_and_ties_go_by_name():
    removed = {"web": 6, "wiki": 9, "books": 0, "a": 6}
    arrivals = {"web": 10, "wiki": 10, "books": 3, "a": 10}
    assert over_allowed_share(removed, arrivals, allowed_share=0.5) == ["wiki", "a", "web"]


def test_the_largest_groups_are_few_and_in_a_total_order():
    groups = [DuplicateGroup(*each) for each in (("d1", 1), ("d2", 4), ("d0", 1), ("d3", 3))]
    assert [each.representative_id for each in largest_groups(groups)] == ["d2", "d3", "d0"]


@pytest.mark.parametrize("part", ["source", "label"])
def test_the_error_names_the_part_its_largest_groups_and_how_they_begin(part):
    error = removed_share_error(
        part,
        ["wiki", "web"],
        removed=9,
        arrivals=10,
        allowed_share=0.5,
        groups=[DuplicateGroup("d2", 4, "See  also\nthe " + "list " * 30), DuplicateGroup("d3", 3)],
    )
    excerpt = "See also the " + "list " * 9 + "li..."
    assert str(error) == (
        f"deduplication would remove 9 of 10 arrivals (90.0%) of {part} 'wiki'; allowed is 50.0% "
        f"(also over it: web); largest groups by representative: d2 (4: {excerpt!r}), d3 (3). Look "
        f"at these texts, then raise deduplicate.max_removed_share_per_{part} or "
        f"deduplicate.near.threshold, or take the {part} out."
    )


@pytest.mark.parametrize(
    ("removed", "arrivals", "share"),
    [({"a": 1}, {}, 0.5), ({"a": 3}, {"a": 2}, 0.5), ({"a": -1}, {"a": 2}, 0.5), ({}, {}, 0.0)],
)
def test_impossible_counts_and_shares_are_refused(removed, arrivals, share):
    with pytest.raises(InputError):
        over_allowed_share(removed, arrivals, allowed_share=share)
