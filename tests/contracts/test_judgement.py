"""Each rule of each contract is broken by a planted fault, and by nothing else."""
# ruff: noqa: S608 - faults are planted with the ids of the rows that they break

import threading

import duckdb
import pytest

from databourse.contracts import check_contract, compile_suite, enforce, load_contract
from databourse.contracts.suite import sql_rules
from databourse.errors import ContractViolation, InputError, UnknownNameError
from databourse.market.board import board_of
from databourse.queries import query
from databourse.warehouse.boards import board_path, store_board

A, B, C, D = (letter * 32 for letter in "abcd")
NAMES = (
    "answers",
    "board",
    "documents",
    "embeddings",
    "generations",
    "manifest",
    "prices",
    "signals",
    "token_losses",
    "topics",
)
WARNINGS = {
    "characters_give_tokens",
    "not_constant",
    "price_is_representable",
    "rarely_missing",
    "unreported_are_sent",
}
NOT_OTHER = "select * from {} where {} is distinct from 'other'"


def fault(contract, rules, sql, ids=(), *, also=(), relation=None):
    """One fault: what it changes, the rule that it breaks, and the rows that the rule must name.

    Faults of single values share a test, since each costs a whole judgement: `rules` is then a
    mapping of rule to ids. `also` are rules that cannot but fail with it.
    """
    rules = {rules: ids} if isinstance(rules, str) else rules
    name = f"{contract}-{next(iter(rules))}"
    return pytest.param(contract, rules, sql, set(also), relation, id=name)


def where(table, change, which, run="run_id = 'run' and "):
    return f"update {table} set {change} where {run}document_id = '{which}'"


def pool(change, which=B):
    return where("pool_documents", change, which)


def price(change, which=B):
    return where("prices", change, which)


def bought(change, which=B):
    return where("manifest_rows", change, which, run="")


def board(change, which=B):
    return where("board_rows", change, which, run="")


def read(change, which=B):
    return where("token_losses", change, which, run="part = 'text' and losses_id != 'other' and ")


def written(change, which=B):
    own = f"generations_id != 'other' and prompt_characters = {3 if which == A else 0} and "
    return where("generations", change, which, run=own)


def answered(change, which=B):
    own = "scorer_id = 'judge' and (failure is null or run_id = 'run') and "
    return where("answers", change, which, run=own)


READ = (
    f"select * from token_losses where document_id is distinct from '{D}' and losses_id is "
    "distinct from 'other' and part is distinct from 'conditioned' and "
    "prompt_characters is distinct from 9"
)
WRITTEN = (
    f"select * from generations where document_id is distinct from '{D}' and generations_id is "
    f"distinct from 'other' and (document_id is distinct from '{A}' or prompt_characters = 3)"
)
ANSWERED = (
    f"select * from answers where document_id is distinct from '{D}' and scorer_id is distinct "
    "from 'other' and (failure is null or run_id = 'run')"
)
NO_ANSWER = (
    "log_p_yes_low = null, log_p_yes_high = null, log_p_no_low = null, log_p_no_high = null, "
    "is_truncated = null"
)

FAULTS = [
    fault("answers", {"requests.required": [f"judge/{A}/run"],
                      "prompt_tokens.required": [f"judge/{B}/past"],
                      "completion_tokens.required": [f"judge/{B}/past"],
                      "unreported_requests.required": [f"judge/{A}/run"],
                      "requests.range": [f"judge/{B}/past"],
                      "prompt_tokens.range": [f"judge/{A}/run"],
                      "completion_tokens.range": [f"judge/{A}/run"],
                      "unreported_requests.range": [f"judge/{B}/past"]},
          answered("requests = null, unreported_requests = null, prompt_tokens = -1, "
                   "completion_tokens = -1", A) + ";"
          + answered("prompt_tokens = null, completion_tokens = null, requests = -1, "
                     "unreported_requests = -1")),
    fault("answers", {"log_p_yes_high.range": [f"judge/{A}/run"],
                      "log_p_no_high.range": [f"judge/{C}/run"]},
          answered("log_p_yes_high = 1e-8", A) + ";" + answered("log_p_no_high = 'inf'", C)),
    fault("answers", "scorer_id.required", answered("scorer_id = null"), [f"null/{B}/past"],
          relation=ANSWERED),
    fault("answers", "scorer_id.length", answered("scorer_id = ''"), [f"/{B}/past"],
          relation=ANSWERED),
    fault("answers", "document_id.required", answered("document_id = null"), ["judge/null/past"],
          relation=ANSWERED),
    fault("answers", "run_id.required", answered("run_id = null"), [f"judge/{B}/null"]),
    fault("answers", "run_id.length", answered("run_id = ''"), [f"judge/{B}/"]),
    fault("answers", "failure.length", answered(f"failure = '', {NO_ANSWER}", A),
          [f"judge/{A}/run"], also=["rarely_missing"]),
    fault("answers", "primary_key", answered("document_id = 'x'") + ";"
          + "insert into answers select * replace ('late' as failure, null as log_p_yes_low, "
          "null as log_p_yes_high, null as log_p_no_low, null as log_p_no_high, "
          f"null as is_truncated) from answers where document_id = '{A}' and scorer_id = 'judge'",
          [f"judge/{A}/run", f"judge/{A}/run"]),
    fault("answers", "rows", "delete from answers", ["0 rows"]),
    fault("answers", "answered_once", "insert into answers select * replace ('past' as run_id) "
          f"from answers where document_id = '{A}' and scorer_id = 'judge'", [A]),
    fault("answers", "whole",
          answered("is_truncated = null", A) + ";" + answered("log_p_yes_low = null")
          + ";" + answered("log_p_no_high = null", C), [A, B, C]),
    fault("answers", "whole", answered("failure = 'timed out'", C), [C], also=["rarely_missing"]),
    fault("answers", "bounds_are_ordered",
          answered("log_p_yes_low = -0.99", A) + ";" + answered("log_p_no_high = -0.0041")
          + ";" + answered("log_p_yes_high = 'nan'", C), [A, B, C]),
    fault("answers", "probabilities_add_up",
          answered("log_p_yes_low = ln(0.3), log_p_yes_high = ln(0.3), "
                   "log_p_no_low = ln(0.7101), log_p_no_high = ln(0.7101)"), [B]),
    fault("answers", "rarely_missing", answered(f"failure = 'timed out', {NO_ANSWER}", C), [C]),
    fault("answers", "unreported_are_sent", answered("unreported_requests = 3"),
          [f"judge/{B}/past"]),
    fault("generations", "generations_id.required", written("generations_id = null"),
          [f"null/{B}/0"], relation=WRITTEN),
    fault("generations", "generations_id.length", written("generations_id = ''"), [f"/{B}/0"],
          relation=WRITTEN),
    fault("generations", "document_id.required",
          "insert into generations select * replace (null as document_id) from generations "
          f"where document_id = '{B}'", ["g1/null/0"], relation=WRITTEN),
    fault("generations", "prompt_characters.required",
          "insert into generations select * replace (null as prompt_characters) from generations "
          f"where document_id = '{B}'", [f"g1/{B}/null"], relation=WRITTEN),
    fault("generations", "prompt_characters.range",
          written("prompt_characters = -1") + ";" + pool("prompt_characters = -1"),
          [f"g1/{B}/-1"]),
    fault("generations", {"texts.required": [f"g0/{A}/3"],
                          "log_likelihoods.required": [f"g1/{B}/0"],
                          "meanings.required": [f"g0/{C}/0"]},
          written("texts = null", A) + ";" + written("log_likelihoods = null") + ";"
          + written("meanings = null", C)),
    fault("generations", "primary_key",
          f"insert into generations from generations where document_id = '{B}'",
          [f"g1/{B}/0", f"g1/{B}/0"]),
    fault("generations", "rows", "delete from generations", ["0 rows"],
          also=["snapshot_is_covered"]),
    fault("generations", "snapshot_is_covered",
          f"delete from generations where document_id = '{A}' and generations_id = 'g0'", [A]),
    fault("generations", "one_writer",
          "insert into generations select * replace ('g0' as generations_id) from generations "
          f"where document_id = '{B}'", [B]),
    fault("generations", "whole",
          written("log_likelihoods = [-1.5]", A) + ";" + written("meanings = [0, null]") + ";"
          + written("meanings = [4, 4, 4]", C), [A, B, C]),
    fault("generations", "one_number",
          written("texts = ['y'], log_likelihoods = [-1], meanings = [4]", C), [C]),
    fault("generations", "finite", written("log_likelihoods = ['-inf'::double, -1]", A), [A]),
    fault("generations", "likelihoods_are_at_most_one",
          written("log_likelihoods = [-1, 1e-12]", C), [C]),
    fault("token_losses", {"tokens.required": [f"f0/text/{A}/0"],
                           "loss_sum.required": [f"f1/text/{B}/0"],
                           "entropy_sum.required": [f"f1/text/{B}/0"],
                           "tokens.range": [f"f0/text/{C}/0"],
                           "loss_sum.range": [f"f0/text/{C}/0"],
                           "entropy_sum.range": [f"f0/text/{C}/0"]},
          read("tokens = null", A) + ";" + read("loss_sum = null, entropy_sum = null") + ";"
          + read("tokens = -1, loss_sum = -1e-9, entropy_sum = -1e-9", C)),
    fault("token_losses", "losses_id.required", read("losses_id = null"), [f"null/text/{B}/0"],
          relation=READ),
    fault("token_losses", "losses_id.length", read("losses_id = ''"), [f"/text/{B}/0"],
          relation=READ),
    fault("token_losses", "part.required",
          f"insert into token_losses values ('f0', null, '{A}', 0, 1, 1, 1)", [f"f0/null/{A}/0"],
          relation=READ),
    fault("token_losses", "part.pattern",
          f"insert into token_losses values ('f0', 'prompt', '{A}', 0, 1, 1, 1)",
          [f"f0/prompt/{A}/0"], relation=READ),
    fault("token_losses", "document_id.required",
          "insert into token_losses values ('f0', 'text', null, 0, 1, 1, 1)", ["f0/text/null/0"],
          relation=READ),
    fault("token_losses", "prompt_characters.required",
          f"insert into token_losses values ('f0', 'text', '{A}', null, 1, 1, 1)",
          [f"f0/text/{A}/null"], relation=READ),
    fault("token_losses", "prompt_characters.range",
          "update token_losses set prompt_characters = -1 where part = 'completion' and "
          "losses_id = 'f0';" + pool("prompt_characters = -1", A), [f"f0/completion/{A}/-1"]),
    fault("token_losses", "primary_key",
          f"insert into token_losses values ('f1', 'text', '{B}', 0, 1, 1, 1)",
          [f"f1/text/{B}/0", f"f1/text/{B}/0"]),
    fault("token_losses", "rows", "delete from token_losses", ["0 rows"],
          also=["parts_are_covered"]),
    fault("token_losses", "parts_are_covered",
          "delete from token_losses where losses_id = 'f0' and part != 'conditioned' and "
          f"document_id = '{A}'", [f"completion/{A}", f"text/{A}"]),
    fault("token_losses", "one_reader",
          f"insert into token_losses values ('f0', 'text', '{B}', 0, 3, 0, 0)", [f"text/{B}"]),
    fault("token_losses", "finite",
          read("loss_sum = 'inf'") + ";" + read("entropy_sum = 'inf'", C),
          [f"text/{B}", f"text/{C}"]),
    fault("token_losses", "nothing_says_nothing",
          read("tokens = 0, loss_sum = 0", A) + ";" + read("tokens = 0") + ";"
          + read("tokens = 0, entropy_sum = 0", C) + "; update documents set characters = 0",
          [f"text/{A}", f"text/{C}"]),
    fault("token_losses", "characters_give_tokens", read("tokens = 0"), [f"text/{B}"]),
    fault("board", {"source.required": [A], "topic.required": [A], "tokens.required": [B],
                    "source.length": [C], "topic.length": [C], "tokens.range": [C]},
          board("source = null, topic = null", A) + ";" + board("tokens = null") + ";"
          + board("source = '', topic = '', tokens = 0", C)),
    fault("board", "document_id.required", board("document_id = null"), ["null"],
          also=["snapshot_is_covered"]),
    fault("board", "document_id.pattern",
          board(f"document_id = '{B}\n'")
          + ";" + where("snapshots", f"document_id = '{B}\n'", B, run=""), [f"{B}\n"]),
    fault("board", "primary_key",
          board(f"document_id = '{A}'") + f"; delete from snapshots where document_id = '{B}'",
          [A, A]),
    fault("board", "rows", "delete from board_rows; delete from snapshots", ["0 rows"]),
    fault("board", "finite", board("signal_good = null") + ";" + board("signal_rare = 'nan'", C),
          [B, C]),
    fault("board", "documents_ascend",
          f"update board_rows set document_id = case document_id when '{A}' then '{B}' "
          f"when '{B}' then '{A}' else document_id end", [A]),
    fault("board", "snapshot_is_covered", board(f"document_id = '{B[:-1]}c'"), [B, f"{B[:-1]}c"]),
    fault("documents", "run_id.required", pool("run_id = null"), [B],
          relation=NOT_OTHER.format("pool_documents", "run_id")),
    fault("documents", "run_id.length", pool("run_id = ''"), [B],
          relation=NOT_OTHER.format("pool_documents", "run_id")),
    fault("documents", "document_id.required", pool("document_id = null"), ["null"],
          also=["registered"]),
    fault("documents", "document_id.pattern",
          pool(f"document_id = '{B}\n'") + f"; insert into documents values ('{B}\n', 1, 's')",
          [f"{B}\n"]),
    fault("documents", "source.required", pool("source = null"), [B],
          also=["arrivals_have_one_fate"]),
    fault("documents", "source.length",
          pool("source = ''", A) + ";" + pool("source = ''", B) + ";" + pool("source = ''", C)
          + ";" + pool("source = ''", D) + "; update sources set source = ''"
          + "; update decisions set source = ''",
          [A, B, C, D]),
    fault("documents", "locator.required", pool("locator = null"), [B],
          also=["arrivals_have_one_fate"]),
    fault("documents", "locator.length", pool("locator = ''"), [B],
          also=["arrivals_have_one_fate"]),
    fault("documents", {"prompt_characters.range": [A], "tokens.required": [B],
                        "tokens.range": [C]},
          pool("prompt_characters = -1", A) + ";" + pool("tokens = null") + ";"
          + pool("tokens = 0", C)),
    fault("documents", "primary_key",
          pool(f"document_id = '{A}'"), [A, A]),
    fault("documents", "rows", "delete from pool_documents; delete from arrivals", ["0 rows"],
          also=["arrivals_have_one_fate"]),
    fault("documents", "registered", f"delete from documents where document_id = '{C}'", [C]),
    fault("documents", "prompts_fit", pool("prompt_characters = 61"), [B]),
    fault("documents", "arrivals_have_one_fate",
          f"delete from pool_documents where document_id = '{C}'", ["f.jsonl#2"]),
    fault("documents", "removed_share_per_source",
          f"insert into arrivals values ('file', 6, '#6', '{A}', null, null, null), "
          f"('file', 7, '#7', '{A}', null, null, null); insert into decisions values "
          f"('run', 'f.jsonl#6', 'src', '{A}', 'exact_dedup', 'dropped', 'r', '{A}', 1.0), "
          f"('run', 'f.jsonl#7', 'src', '{A}', 'exact_dedup', 'dropped', 'r', '{A}', 1.0)",
          ["src"]),
    fault("documents", "removed_share_per_label",
          "update arrivals set label = 'rare' where place = '#5'", ["rare"]),
    fault("embeddings", "document_id.required",
          "update embeddings set document_id = null where vector = [5, 5, 5]; "
          "update embeddings set vector = [0, 1] where document_id is null", ["null"],
          relation=NOT_OTHER.format("embeddings", "encoder_id")),
    fault("embeddings", "encoder_id.required",
          where("embeddings", "encoder_id = null", B, run=""), [B],
          relation="select * from embeddings where encoder_id is null or encoder_id = 'enc' and "
          "vector != [5, 5, 5]"),
    fault("embeddings", "encoder_id.length",
          where("embeddings", "encoder_id = ''", B, run=""), [B],
          relation="select * from embeddings where encoder_id in ('', 'enc') and "
          "vector != [5, 5, 5]"),
    fault("embeddings", "vector.required", where("embeddings", "vector = null", B, run=""), [B]),
    fault("embeddings", "primary_key", f"insert into embeddings values ('{B}', 'enc', [1, 0])",
          [B, B]),
    fault("embeddings", "rows", "delete from embeddings", ["0 rows"], also=["snapshot_is_covered"]),
    fault("embeddings", "snapshot_is_covered",
          f"delete from embeddings where document_id = '{C}'", [C]),
    fault("embeddings", "one_length", where("embeddings", "vector = [0.6, 0.0, 0.8]", B, run=""),
          [B]),
    fault("embeddings", "finite", where("embeddings", "vector = [1, null]", B, run=""), [B]),
    fault("embeddings", "unit_norm", where("embeddings", "vector = [0, 1.002]", B, run=""), [B]),
    fault("topics", "topics_id.required", where("topics", "topics_id = null", B, run=""), [B],
          relation=NOT_OTHER.format("topics", "topics_id")),
    fault("topics", "snapshot_id.required", where("topics", "snapshot_id = null", B, run=""), [B],
          also=["snapshot_is_covered"]),
    fault("topics", "document_id.required", where("topics", "document_id = null", B, run=""),
          ["null"], also=["snapshot_is_covered"]),
    fault("topics", {"topic.length": [A], "topic.required": [B], "similarity.range": [C]},
          where("topics", "topic = ''", A, run="topics_id = 'top' and ") + ";"
          + where("topics", "topic = null", B, run="") + ";"
          + where("topics", "similarity = 1.00001", C, run="")),
    fault("topics", "primary_key", f"insert into topics values ('top', 'snap', '{B}', 'two', 0)",
          [B, B]),
    fault("topics", "rows", "delete from topics", ["0 rows"], also=["snapshot_is_covered"]),
    fault("topics", "snapshot_is_covered", where("topics", f"document_id = '{D}'", B, run=""),
          [B, D]),
    fault("topics", "similarity_is_a_number", where("topics", "similarity = 'nan'", B, run=""),
          [B]),
    fault("signals", "signal_id.required", f"insert into signals values (null, '-', '{B}', 1)",
          [f"null/{B}"],
          relation="select * from signals where (signal_id is null or signal_id != 'unasked') and "
          f"snapshot_id != 'past' and document_id != '{D}'"),
    fault("signals", "snapshot_id.required", "update signals set snapshot_id = null where "
          f"signal_id = 'good' and document_id = '{B}'", [f"good/{B}"],
          relation="select * from signals where signal_id != 'unasked' and "
          f"snapshot_id is distinct from 'past' and document_id != '{D}'"),
    fault("signals", "document_id.required",
          "insert into signals values ('good', 'snap', null, 1)", ["good/null"],
          relation="select * from signals where signal_id != 'unasked' and snapshot_id != 'past' "
          f"and document_id is distinct from '{D}'"),
    fault("signals", "value.required", f"update signals set value = null where document_id = '{B}'",
          [f"good/{B}", f"rare/{B}"]),
    fault("signals", "primary_key", f"insert into signals values ('rare', 'snap', '{B}', 2)",
          [f"rare/{B}", f"rare/{B}"]),
    fault("signals", "rows", "delete from signals", ["0 rows"], also=["complete"]),
    fault("signals", "complete", "delete from signals where signal_id = 'good' and "
          f"document_id != '{A}'", [f"good/{B}", f"good/{C}"]),
    fault("signals", "finite", "update signals set value = '-inf' where signal_id = 'good' and "
          f"document_id = '{C}'", [f"good/{C}"]),
    fault("signals", "not_constant", "update signals set value = 1 where signal_id = 'rare'",
          ["rare"]),
    fault("prices", "run_id.required", price("run_id = null"), [B],
          relation=NOT_OTHER.format("prices", "run_id")),
    fault("prices", {"topic.required": [B], "shares.required": [B], "price_rank.required": [B],
                     "contributions.required": [B], "tokens.required": [C],
                     "log_price.required": [C], "log_price_per_token.required": [C],
                     "is_selected.required": [C], "weight.required": [C]},
          price("topic = null, shares = null, price_rank = null, contributions = null", B) + ";"
          + price("tokens = null, log_price = null, log_price_per_token = null, "
                  "is_selected = null, weight = null", C)),
    fault("prices", {"topic.length": [A], "tokens.range": [B], "price_rank.range": [C],
                     "weight.range": [A], "inclusion_probability.range": [B]},
          price("topic = '', weight = 0", A) + ";"
          + price("tokens = 0, inclusion_probability = 1.01", B) + ";"
          + price("price_rank = 0", C)),
    fault("prices", "document_id.required", price("document_id = null"), ["null"],
          also=["snapshot_is_covered"]),
    fault("prices", "log_price.range", price("log_price = 5e-7", A), [A]),
    fault("prices", "price_rank.unique", price("price_rank = 3"), [B, C]),
    fault("prices", "primary_key", "insert into prices select * replace (4 as price_rank) from "
          f"prices where run_id = 'run' and document_id = '{B}'", [B, B]),
    fault("prices", "rows", "delete from prices; delete from snapshots", ["0 rows"]),
    fault("prices", "finite", price("log_price_per_token = 'inf'"), [B]),
    fault("prices", "prices_sum_to_one", price("log_price = -0.1", A), ["all prices"]),
    fault("prices", "ranks_are_a_permutation", price("price_rank = 4", C), [C]),
    fault("prices", "contributions_are_present", price("contributions = map {}"), [B]),
    fault("prices", "snapshot_is_covered", f"delete from prices where document_id = '{C}'", [C]),
    fault("manifest", {"source.required": [A], "topic.required": [A], "price.required": [A],
                       "price_per_token.required": [A], "rank.required": [A],
                       "locator.required": [B], "tokens.required": [B], "log_price.required": [B],
                       "log_price_per_token.required": [B], "weight.required": [B],
                       "inclusion_probability.required": [B], "text.required": [B]},
          bought("source = null, topic = null, price = null, price_per_token = null, rank = null",
                 A)
          + ";" + bought("locator = null, tokens = null, log_price = null, "
                         "log_price_per_token = null, weight = null, text = null, "
                         "inclusion_probability = null")),
    fault("manifest", {"source.length": [A], "topic.length": [A], "price.range": [A],
                       "price_per_token.range": [A], "rank.range": [A],
                       "locator.length": [B], "log_price.range": [B], "weight.range": [B],
                       "prompt_characters.range": [B], "text.length": [B],
                       "inclusion_probability.range": [B]},
          bought("source = '', topic = '', price = 1.00000001, price_per_token = -0.1, rank = 0", A)
          + ";" + bought("locator = '', log_price = 2e-9, weight = 0, prompt_characters = -1, "
                         "inclusion_probability = 0, text = ''")),
    fault("manifest", "document_id.required", bought("document_id = null"), ["null"],
          also=["bought_and_nothing_else"]),
    fault("manifest", "document_id.pattern",
          bought("document_id = 'B'") + ";" + price("document_id = 'B'"), ["B"]),
    fault("manifest", "tokens.range", bought("tokens = 0") + ";" + price("tokens = 0"), [B]),
    fault("manifest", "rank.unique", bought("rank = 1"), [A, B]),
    fault("manifest", "primary_key", f"insert into manifest_rows select * replace (3 as rank) from "
          f"manifest_rows where document_id = '{A}'; delete from manifest_rows where "
          f"document_id = '{B}'; update prices set is_selected = false where document_id = '{B}'",
          [A, A]),
    fault("manifest", "rows", "delete from manifest_rows; update prices set is_selected = false",
          ["0 rows"]),
    fault("manifest", "finite", bought("weight = 'inf'"), [B]),
    fault("manifest", "bought_and_nothing_else", price("is_selected = false"), [B]),
    fault("manifest", "budget_is_kept",
          bought("tokens = 21") + ";" + price("tokens = 21"), ["all documents"]),
    fault("manifest", "every_row_is_decided",
          "delete from decisions where locator in ('f.jsonl#2', 'f.jsonl#4')",
          ["f.jsonl#2", "f.jsonl#4"]),
    fault("manifest", "contributions_are_finite", bought("contribution_rare = null"), [B]),
    fault("manifest", "price_is_representable", bought("price = 0"), [B]),
]  # fmt: skip


def failed(result):
    return {rule.rule for rule in result.rules if not rule.success}


def named(result, rule):
    return next(each for each in result.rules if each.rule == rule)


@pytest.mark.parametrize("name", NAMES)
def test_good_rows_pass_every_rule(judge, name):
    result = judge(name)

    assert failed(result) == set()
    assert result.success
    assert result.rows > 1
    assert all(not rule.example_ids and not rule.observed for rule in result.rules)
    enforce(result)


@pytest.mark.parametrize(("contract", "rules", "sql", "also", "relation"), FAULTS)
def test_a_fault_breaks_its_rule_and_no_other(  # noqa: PLR0917 - one fault has many parts
    warehouse, judge, contract, rules, sql, also, relation
):
    for statement in sql.split(";"):
        warehouse.execute(statement)

    result = judge(contract, relation=relation)

    assert failed(result) == set(rules) | also
    for rule, ids in rules.items():
        assert named(result, rule).example_ids == tuple(ids)
        assert named(result, rule).failing_rows == len(ids)
    assert result.success == (set(rules) <= WARNINGS)


CHUNKED = {
    "answers": answered("log_p_yes_high = 1, requests = -1, log_p_no_low = 'nan'"),
    "generations": written("texts = null, meanings = null")
    + ";"
    + f"insert into generations from generations where document_id = '{B}'",
    "token_losses": read("loss_sum = -1, losses_id = 'f0'", A)
    + ";"
    + f"insert into token_losses from token_losses where document_id = '{A}' and part = 'text' "
    + "and losses_id = 'f0'",
    "board": board(f"document_id = '{A}', tokens = 0, signal_good = null", C),
    "documents": pool("tokens = 0") + ";" + pool(f"document_id = '{A}', label = 'x'", C),
    "embeddings": f"insert into embeddings values ('{B}', 'enc', null)",
    "topics": where("topics", f"document_id = '{A}', topic = ''", C, run=""),
    "signals": f"insert into signals values ('rare', 'snap', '{B}', null)",
    "prices": price("price_rank = 3, topic = null, shares = 'nan'"),
    "manifest": bought("rank = 1, weight = -1"),
}


@pytest.mark.parametrize("name", NAMES)
def test_chunks_change_no_result(warehouse, judge, name):
    for statement in CHUNKED[name].split(";"):
        warehouse.execute(statement)

    whole = judge(name)

    assert judge(name, chunk_rows=1) == whole
    assert len(failed(whole)) > 1


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_has_a_planted_fault(name):
    contract = load_contract(name)
    compiled = [each["meta"]["rule"] for each in compile_suite(contract)["expectations"]]

    planted = {rule for each in FAULTS if each.values[0] == name for rule in each.values[1]}

    assert planted == {*compiled, *(rule.rule for rule in sql_rules(contract))}


def test_parts_that_no_signal_needs_and_prompts_of_other_runs_are_not_judged(warehouse, judge):
    assert judge("token_losses").rows == 4
    assert judge("generations").rows == 3
    both = {"parts": ["text", "completion", "conditioned"]}

    result = judge("token_losses", parameters=both)

    assert failed(result) == {"parts_are_covered"}
    assert named(result, "parts_are_covered").example_ids == (f"conditioned/{A}",)

    warehouse.execute(f"update pool_documents set prompt_characters = 4 where document_id = '{A}'")
    assert named(judge("token_losses"), "parts_are_covered").example_ids == (f"completion/{A}",)
    assert named(judge("generations"), "snapshot_is_covered").example_ids == (A,)


def test_a_pool_without_prompts_has_whole_texts_alone(warehouse, judge):
    warehouse.execute("update pool_documents set prompt_characters = null")

    assert failed(judge("token_losses")) == set()
    assert failed(judge("token_losses", parameters={"parts": ["completion"]})) == {"rows"}


def test_an_empty_completion_has_no_token_and_no_loss(warehouse, judge):
    warehouse.execute(
        "update token_losses set tokens = 0, loss_sum = 0, entropy_sum = 0 where part = "
        "'completion'"
    )
    assert failed(judge("token_losses")) == {"characters_give_tokens"}
    assert named(judge("token_losses"), "characters_give_tokens").observed == "characters=47"

    warehouse.execute(f"update documents set characters = 3 where document_id = '{A}'")
    assert failed(judge("token_losses")) == set()


@pytest.mark.parametrize(("failures", "is_kept"), [(1, True), (2, False)])
def test_one_document_in_a_hundred_may_be_without_an_answer(warehouse, judge, failures, is_kept):
    warehouse.execute("delete from answers; delete from snapshots")
    warehouse.execute("insert into snapshots select 'snap', i::varchar from range(200) as n (i)")
    warehouse.execute(
        "insert into answers select 'judge', i::varchar, if(i % 2 = 0, 'run', 'past'), -1, -1, -1, "
        f"-1, false, null, 1, 1, 1, 0 from range({failures}, 100) as n (i)"
    )
    warehouse.execute(
        "insert into answers select 'judge', i::varchar, run_id, null, null, null, null, null, "
        f"'timed out', 1, 0, 0, 1 from range({failures}) as n (i), "
        "(values ('run'), ('past')) as runs (run_id)"
    )

    result = judge("answers")

    assert failed(result) == (set() if is_kept else {"rarely_missing"})
    assert result.success
    if not is_kept:
        assert named(result, "rarely_missing").example_ids == ("0", "1")
        assert named(result, "rarely_missing").observed == "failure=timed out"


def test_a_failure_of_this_run_is_forgiven_where_another_answered(warehouse, judge):
    warehouse.execute(
        f"insert into answers values ('judge', '{B}', 'run', null, null, null, null, null, "
        "'timed out', 1, 0, 0, 1)"
    )
    assert failed(judge("answers")) == set()


@pytest.mark.parametrize(("no", "is_kept"), [(0.7, True), (0.71, True), (0.7101, False)])
def test_probabilities_may_exceed_one_by_what_endpoints_round(warehouse, judge, no, is_kept):
    warehouse.execute(
        "update answers set log_p_yes_low = ln(0.3), log_p_yes_high = 0, log_p_no_high = 0, "
        f"log_p_no_low = ln({no}) where document_id = '{B}'"
    )
    assert failed(judge("answers")) == (set() if is_kept else {"probabilities_add_up"})


FATES = [
    (("insert into decisions select * replace ('budget' as stage) from decisions where "
     "stage = 'exact_dedup'"), "f.jsonl#3"),  # decided twice
    ("update decisions set stage = 'exact_dedup' where stage = 'near_dedup'", "f.jsonl#5"),
    ("delete from quarantine", "f.jsonl#4"),  # decided, never came in
    (f"delete from arrivals where document_id = '{B}'", "f.jsonl#1"),  # kept, never came in
    ("delete from decisions where stage = 'ingest'", "f.jsonl#4"),  # came in, never decided
]  # fmt: skip


@pytest.mark.parametrize(("sql", "locator"), FATES)
def test_lost_and_invented_rows_are_named_by_their_locator(warehouse, judge, sql, locator):
    warehouse.execute(sql)

    result = judge("documents")

    assert failed(result) == {"arrivals_have_one_fate"}
    assert named(result, "arrivals_have_one_fate").example_ids == (locator,)


@pytest.mark.parametrize("stage", ["near_dedup", "semantic_dedup", "decontaminate"])
def test_a_removed_share_is_that_of_all_dedup_and_of_nothing_else(warehouse, judge, stage):
    warehouse.execute(f"update decisions set stage = '{stage}' where stage = 'near_dedup'")
    lost = 0.2 if stage == "decontaminate" else 0.4  # of the five arrivals

    for limit, is_kept in ((lost, True), (lost - 1e-9, False)):
        found = judge("documents", parameters={"max_removed_share_per_source": limit})
        assert failed(found) == (set() if is_kept else {"removed_share_per_source"})
    if not is_kept and stage != "decontaminate":
        rule = named(found, "removed_share_per_source")
        assert rule.observed == "removed_rows=2, arrived_rows=5"


def test_without_a_limit_a_label_may_lose_everything(warehouse, judge):
    warehouse.execute("update arrivals set label = 'rare' where place = '#5'")

    assert judge("documents", parameters={"max_removed_share_per_label": None}).success


def test_a_decision_of_the_budget_is_no_second_fate(warehouse, judge):
    found = warehouse.execute("select count(*) from decisions where stage = 'budget'").fetchall()

    assert found == [(3,)]
    assert judge("documents").success


@pytest.mark.parametrize(
    ("name", "change", "value"),
    [
        ("prices", "update prices set log_price = '{}' where run_id = 'run' and", "nan"),
        ("prices", "update prices set log_price = '{}' where run_id = 'run' and", "inf"),
        ("prices", "update prices set shares = '{}' where run_id = 'run' and", "-inf"),
        ("signals", "update signals set value = '{}' where signal_id = 'rare' and", "nan"),
        ("token_losses", "update token_losses set loss_sum = '{}' where", "nan"),
        ("token_losses", "update token_losses set entropy_sum = '{}' where", "-inf"),
        ("generations", "update generations set log_likelihoods = [-1, '{}'::double] where", "nan"),
        ("generations", "update generations set log_likelihoods = [-1, '{}'::double] where", "inf"),
        ("manifest", "update manifest_rows set price = '{}' where", "nan"),
        ("board", "update board_rows set signal_good = '{}' where", "inf"),
        ("board", "update board_rows set signal_rare = '{}' where", "nan"),
        ("embeddings", "update embeddings set vector = ['{}'::float, 1] where", "nan"),
        ("embeddings", "update embeddings set vector = ['{}'::float, 1] where", "-inf"),
    ],
)
def test_a_number_that_is_not_finite_always_breaks_the_rule_finite(
    warehouse, judge, name, change, value
):
    warehouse.execute(f"{change.format(value)} document_id = '{B}'")

    result = judge(name)

    assert not result.success
    assert named(result, "finite").example_ids[0].endswith(B)
    assert named(result, "finite").failing_rows == 1


def test_bought_documents_that_are_missing_unpriced_or_changed_are_told_apart(warehouse, judge):
    warehouse.execute(f"delete from manifest_rows where document_id = '{A}'")
    assert named(judge("manifest"), "bought_and_nothing_else").observed == (
        "problem=was bought, is missing"
    )
    warehouse.execute("update manifest_rows set tokens = 21")
    warehouse.execute(f"delete from prices where document_id = '{A}'")
    assert named(judge("manifest"), "bought_and_nothing_else").observed == (
        "problem=has another length"
    )
    warehouse.execute("delete from prices")
    assert named(judge("manifest"), "bought_and_nothing_else").observed == "problem=has no price"


@pytest.mark.parametrize(
    ("limits", "is_kept"),
    [
        ({"limit_tokens": None, "limit_documents": 2}, True),
        ({"limit_tokens": None, "limit_documents": 1}, False),
        ({"limit_tokens": None, "limit_documents": None}, False),
    ],
)
def test_the_budget_binds_tokens_or_documents_and_must_be_given(judge, limits, is_kept):
    assert named(judge("manifest", parameters=limits), "budget_is_kept").success == is_kept


def test_a_manifest_without_text_or_traders_passes_or_cannot_be_judged(warehouse, judge):
    warehouse.execute("alter table manifest_rows drop column text")
    assert failed(judge("manifest")) == set()

    warehouse.execute("alter table manifest_rows drop column contribution_rare")
    result = judge("manifest")

    assert failed(result) == {"contributions_are_finite"}
    assert "could not be judged" in named(result, "contributions_are_finite").observed


def test_a_board_of_no_trader_cannot_be_judged(warehouse, judge):
    warehouse.execute("alter table board_rows drop column signal_good")
    assert failed(judge("board")) == set()

    warehouse.execute("alter table board_rows drop column signal_rare")
    result = judge("board")

    assert failed(result) == {"finite"}
    assert "could not be judged" in named(result, "finite").observed


def test_the_order_of_a_board_is_that_of_its_file_across_row_groups(warehouse, judge, tmp_path):
    warehouse.execute("delete from board_rows; delete from snapshots")
    warehouse.execute(
        "insert into board_rows select format('{:032x}', i), 'src', 'one', 9, 0.5, 0.5 "
        "from range(6000) as numbers (i)"
    )
    warehouse.execute("insert into snapshots select 'snap', document_id from board_rows")
    path = tmp_path / "groups.parquet"
    turned = "order by (document_id >= format('{:032x}', 2048)) desc, document_id"
    found = []
    for order in ("order by document_id", turned):
        warehouse.execute(
            f"copy (from board_rows {order}) to '{path}' (format parquet, row_group_size 2048)"
        )
        found.append(judge("board", parameters={"path": str(path)}))

    assert failed(found[0]) == set()
    assert failed(found[1]) == {"documents_ascend"}
    assert named(found[1], "documents_ascend").example_ids == (f"{0:032x}",)


def test_a_stored_board_keeps_its_contract(warehouse, judge, tmp_path):
    board_id = store_board(tmp_path, board_of(warehouse.sql("from board_rows").to_arrow_table()))

    result = judge("board", parameters={"path": str(board_path(tmp_path, board_id))})

    assert failed(result) == set()
    assert result.rows == 3


@pytest.mark.parametrize("chunk_rows", [4, 500_000])
def test_examples_are_the_smallest_ids_whatever_the_order_of_rows(warehouse, judge, chunk_rows):
    ids = [f"{number:032x}" for number in range(9)]
    for each in [ids[5], ids[0], ids[8], *ids[1:5], *ids[6:8]]:
        warehouse.execute("insert into topics values ('top', 'snap', ?, '', 0)", [each])
        warehouse.execute("insert into snapshots values ('snap', ?)", [each])

    rule = named(judge("topics", chunk_rows=chunk_rows), "topic.length")

    assert rule.failing_rows == 9
    assert rule.example_ids == tuple(ids[:5])


def test_the_same_rows_in_another_order_give_the_same_text(warehouse, judge):
    warehouse.execute("update prices set log_price = -1, topic = '' where run_id = 'run'")
    first = judge("prices").to_json()
    warehouse.execute("create table turned as from prices order by document_id desc")
    warehouse.execute("drop table prices")
    warehouse.execute("alter table turned rename to prices")

    assert judge("prices").to_json() == first
    assert judge("prices", chunk_rows=1).to_json() == first


TYPES = [
    ("board", "board_rows", "signal_rare", "FLOAT", "DOUBLE"),
    ("embeddings", "embeddings", "vector", "DOUBLE[]", "FLOAT[]"),
    ("prices", "prices", "contributions", "MAP(VARCHAR, FLOAT)", "MAP(VARCHAR, DOUBLE)"),
    ("manifest", "manifest_rows", "contribution_rare", "FLOAT", "DOUBLE"),
]


@pytest.mark.parametrize(("name", "table", "column", "kind", "wanted"), TYPES)
def test_a_changed_column_type_is_named(  # noqa: PLR0917
    warehouse, judge, name, table, column, kind, wanted
):
    warehouse.execute(f"alter table {table} alter {column} type {kind}")

    result = judge(name)

    assert named(result, "column_types").example_ids == (f"{column} is {kind} instead of {wanted}",)
    assert "column_types" in failed(result)
    with pytest.raises(ContractViolation, match=f"'column_types'.*{column} is"):
        enforce(result)


def test_text_in_place_of_numbers_breaks_the_type_and_cannot_be_judged(warehouse, judge):
    warehouse.execute("alter table pool_documents alter tokens type varchar")

    result = judge("documents")

    assert failed(result) == {"column_types", "tokens.range"}
    assert named(result, "tokens.range").observed.startswith("could not be judged")
    assert named(result, "tokens.range").failing_rows == result.rows


@pytest.mark.parametrize("chunk_rows", [1, 500_000])
def test_a_missing_column_fails_every_rule_about_it(warehouse, judge, chunk_rows):
    warehouse.execute("alter table prices drop column price_rank")

    result = judge("prices", chunk_rows=chunk_rows)

    about_rank = {"price_rank.required", "price_rank.unique", "price_rank.range"}
    assert failed(result) == {"columns", "ranks_are_a_permutation", *about_rank}
    assert named(result, "columns").example_ids == ("price_rank is missing",)
    assert named(result, "price_rank.unique").observed == (
        "could not be judged: there is no column price_rank"
    )


def test_a_missing_key_leaves_the_other_rules_judged_without_ids(warehouse, judge):
    warehouse.execute("update topics set topic = '' where topics_id = 'top'")
    warehouse.execute("alter table topics drop column document_id")

    result = judge("topics")

    assert named(result, "topic.length").failing_rows == 3
    assert named(result, "topic.length").example_ids == ()
    assert {"columns", "document_id.required", "primary_key"} <= failed(result)


def test_an_extra_column_is_named(warehouse, judge):
    warehouse.execute("alter table signals add column surprise integer")

    result = judge("signals")

    assert failed(result) == {"columns"}
    assert named(result, "columns").example_ids == ("surprise is not in the contract",)


def test_a_relation_that_cannot_be_read_fails_every_rule(warehouse, judge):
    warehouse.execute("drop table prices")

    result = judge("prices")

    assert all(not rule.success and rule.failing_rows == 1 for rule in result.rules)
    with pytest.raises(ContractViolation, match=r"'columns'.*Table with name prices does not"):
        enforce(result)


def test_a_forgotten_parameter_fails_closed(warehouse):
    result = check_contract(warehouse.cursor(), "prices", {"run_id": "run"})

    assert failed(result) == {"snapshot_is_covered"}
    assert "snapshot_id" in named(result, "snapshot_is_covered").observed


def test_parameters_are_values_and_never_sql(judge):
    result = judge("documents", parameters={"run_id": "x' or '1' = '1"})

    assert result.rows == 0
    assert "rows" in failed(result)


def test_uncommitted_rows_of_the_callers_transaction_are_judged(warehouse):
    cursor = warehouse.cursor()
    cursor.begin()
    cursor.execute("update topics set topic = '' where topics_id = 'top'")
    parameters = {"topics_id": "top", "snapshot_id": "snap"}

    inside = check_contract(cursor, "topics", parameters)
    cursor.rollback()

    assert failed(inside) == {"topic.length"}
    assert check_contract(cursor, "topics", parameters).success


def test_the_cursor_is_left_free_and_the_tables_untouched(warehouse, judge):
    cursor = warehouse.cursor()
    before = warehouse.execute("select table_name from duckdb_tables()").fetchall()

    check_contract(cursor, "topics", {"topics_id": "top", "snapshot_id": "snap"}, chunk_rows=1)

    assert cursor.sql("select 1").fetchall() == [(1,)]
    assert warehouse.execute("select table_name from duckdb_tables()").fetchall() == before


def test_threads_that_judge_at_once_do_not_see_each_others_rows(warehouse):
    warehouse.execute(f"insert into topics values ('bad', 'snap', '{A}', '', 0)")
    results = {}

    def work(topics_id):
        parameters = {"topics_id": topics_id, "snapshot_id": "snap"}
        results[topics_id] = [
            check_contract(warehouse.cursor(), "topics", parameters) for _ in range(2)
        ]

    threads = [threading.Thread(target=work, args=(each,)) for each in ("top", "bad")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(result.success and result.rows == 3 for result in results["top"])
    assert all("topic.length" in failed(result) for result in results["bad"])


def test_judging_is_silent_and_leaves_no_file(judge, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)

    judge("documents")

    assert capfd.readouterr() == ("", "")
    assert list(folder.iterdir()) == []


def test_an_unknown_contract_is_refused_with_the_nearest_name(warehouse):
    with pytest.raises(UnknownNameError, match=r"unknown contract 'price'.*did you mean 'prices'"):
        check_contract(warehouse.cursor(), "price")


def test_chunks_must_hold_a_row(warehouse):
    with pytest.raises(InputError, match="chunk_rows must be >= 1, got 0"):
        check_contract(warehouse.cursor(), "prices", chunk_rows=0)


def test_large_relations_are_judged_whole():
    with duckdb.connect(config={"threads": 1}) as connection:
        for table in ("topics", "snapshots"):
            connection.execute(query(table))
        connection.execute(
            "insert into topics select 'top', 'snap', format('{:032x}', i), "
            "if(i in (5, 4999), '', 'one'), 0 from range(5000) as numbers (i)"
        )
        connection.execute("insert into snapshots select snapshot_id, document_id from topics")
        parameters = {"topics_id": "top", "snapshot_id": "snap"}
        whole = check_contract(connection.cursor(), "topics", parameters)
        parts = check_contract(connection.cursor(), "topics", parameters, chunk_rows=1500)

    assert whole == parts
    assert failed(whole) == {"topic.length"}
    assert named(whole, "topic.length").example_ids == (f"{5:032x}", f"{4999:032x}")


def test_rows_that_break_a_rule_are_shown_by_their_key(tmp_path):
    import duckdb

    from databourse.contracts.relation import Relation

    with duckdb.connect() as connection:
        connection.execute(
            "create table pairs as select * from (values ('s', 'a', 1), ('s', 'b', null), "
            "(null, 'c', 3), ('t', 'x/y', 4)) as t(signal, document, number)"
        )
        rows = Relation(
            connection,
            "select * from pairs where number is null or number < $most",
            {
                "most": 100,
            },
        )
        key = ("signal", "document")
        assert rows.rows_named(["s/b"], key, most_rows=5) == [
            {"signal": "s", "document": "b", "number": "None"}
        ]
        # an id may be one column of the key; null is spelt as in ids; nothing is injected
        assert [row["document"] for row in rows.rows_named(["c", "t/x/y"], key, most_rows=5)] == [
            "x/y",
            "c",
        ]
        assert [row["document"] for row in rows.rows_named(["null/c"], key, most_rows=5)] == ["c"]
        assert rows.rows_named(["' or true --"], key, most_rows=5) == []
        assert len(rows.rows_named(["s", "t"], key, most_rows=2)) == 2
