"""Seeds of stages."""

from databourse.seeds import stage_rng, stage_seed


def test_each_stage_has_its_own_seed_and_keeps_it():
    assert stage_seed(17, "topics") == stage_seed(17, "topics")
    assert len({stage_seed(17, "topics"), stage_seed(17, "signals"), stage_seed(18, "topics")}) == 3
    assert stage_seed(17, "a", "b") != stage_seed(17, "ab")
    assert all(0 <= stage_seed(seed, "x") < 2**31 for seed in range(100))


def test_generators_of_one_stage_agree():
    assert stage_rng(1, "x").random() == stage_rng(1, "x").random()
