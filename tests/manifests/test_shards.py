import math

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from databourse.errors import InputError
from databourse.manifests.shards import ROW_GROUP_ROWS, canonical_documents, write_shards

COLUMNS = [
    "document_id",
    "source",
    "locator",
    "label",
    "tokens",
    "topic",
    "price",
    "log_price",
    "price_per_token",
    "log_price_per_token",
    "rank",
    "weight",
    "prompt_characters",
    "contribution_rarity",
    "contribution_uncertainty",
    "text",
]


def replaced(table, name, values, kind=None):
    return table.set_column(
        table.column_names.index(name),
        name,
        pa.array(values, kind or table.schema.field(name).type),
    )


def bytes_of(table, folder, shard_rows=100_000):
    folder.mkdir()
    return [path.read_bytes() for path in write_shards(table, folder, shard_rows=shard_rows)]


def test_rows_are_in_key_order_and_columns_in_the_order_of_the_format(made):
    table = canonical_documents(made.documents())

    assert table.column_names == COLUMNS
    ids = table.column("document_id").to_pylist()
    assert ids == sorted(ids)
    assert len(ids) == 5


def test_prices_that_are_not_given_are_the_exponentials_of_their_logs(made):
    row = canonical_documents(made.documents()).filter(pc.equal(pc.field("tokens"), 10)).to_pylist()

    assert row[0]["price"] == pytest.approx(0.36787944117144233, rel=1e-15)  # exp(-1)
    assert row[0]["price_per_token"] == pytest.approx(0.036787944117144233, rel=1e-14)  # /10
    assert row[0]["weight"] == 1.0
    assert row[0]["prompt_characters"] is None


def test_given_weights_prices_and_prompts_are_kept(made):
    given = made.documents()
    for name, values in (
        ("weight", [2.5] * 5),
        ("price", [0.2] * 5),
        ("prompt_characters", [3] * 5),
    ):
        given = given.append_column(name, pa.array(values))

    table = canonical_documents(given)

    assert set(table.column("weight").to_pylist()) == {2.5}
    assert set(table.column("price").to_pylist()) == {0.2}
    assert set(table.column("prompt_characters").to_pylist()) == {3}


def test_order_chunks_and_encodings_of_the_input_leave_the_bytes_alone(made, tmp_path):
    given = made.documents()
    shuffled = pa.concat_tables([given.slice(3), given.slice(0, 1), given.slice(1, 2)])
    encoded = replaced(
        shuffled,
        "topic",
        shuffled.column("topic").combine_chunks().dictionary_encode(),
        pa.dictionary(pa.int32(), pa.string()),
    ).select(list(reversed(given.column_names)))
    narrow = encoded.set_column(
        encoded.column_names.index("tokens"), "tokens", encoded.column("tokens").cast(pa.uint16())
    )

    first = bytes_of(canonical_documents(given), tmp_path / "a", 2)
    second = bytes_of(canonical_documents(narrow), tmp_path / "b", 2)

    assert first == second
    assert len(first) == 3


def test_a_map_of_contributions_becomes_one_column_per_trader(made, tmp_path):
    given = made.documents()
    pairs = zip(
        given.column("contribution_rarity").to_pylist(),
        given.column("contribution_uncertainty").to_pylist(),
        strict=True,
    )
    maps = [[("uncertainty", b), ("rarity", a)] for a, b in pairs]
    mapped = given.drop_columns(["contribution_rarity", "contribution_uncertainty"]).append_column(
        "contributions", pa.array(maps, pa.map_(pa.string(), pa.float64()))
    )

    assert canonical_documents(mapped).equals(canonical_documents(given))


def test_a_trader_missing_from_one_map_is_an_error_not_a_zero(made):
    given = made.documents().drop_columns(["contribution_rarity", "contribution_uncertainty"])
    maps = [[("rarity", 1.0)]] * 4 + [[]]
    mapped = given.append_column("contributions", pa.array(maps, pa.map_("string", "float64")))

    with pytest.raises(InputError, match="contribution_rarity is null in 1 rows"):
        canonical_documents(mapped)


def test_negative_zero_is_written_as_zero(made):
    given = replaced(made.documents(), "log_price", [-0.0] * 5)

    values = canonical_documents(given).column("log_price").to_pylist()

    assert [math.copysign(1, value) for value in values] == [1.0] * 5


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("tokens", [10, 9, 0, 12, 13], "tokens must be >= 1, got 0 for document 0f795b"),
        ("tokens", [10, 9, None, 12, 13], "tokens is null in 1 rows"),
        ("tokens", ["10"] * 5, "column tokens must be int64, got string"),
        ("tokens", [10.5] * 5, "column tokens must be int64, got double"),
        ("rank", [1, 2, 3, 4, 0], "rank must be >= 1"),
        ("log_price", [0.0, 1.0, math.nan, 0.0, 0.0], "log_price must be finite, got nan"),
        ("log_price", [0.0, 1.0, 5000.0, 0.0, 0.0], "price must be finite, got inf"),
        ("log_price", [-math.inf] * 5, "log_price must be finite, got -inf"),
        ("contribution_rarity", [math.inf] * 5, "contribution_rarity must be finite"),
        ("topic", [None] * 5, "topic is null in 5 rows"),
        ("topic", [1] * 5, "column topic must be string, got int64"),
        ("document_id", ["a", "b", "c", "b", "e"], "document_id b is there twice"),
        ("document_id", ["a", "b", "c", "", "e"], "document_id must not be empty"),
    ],
)
def test_documents_outside_their_domain_are_refused_with_the_row(made, column, values, message):
    given = made.documents()
    broken = given.set_column(given.column_names.index(column), column, pa.array(values))

    with pytest.raises(InputError, match=message):
        canonical_documents(broken)


def test_missing_unknown_and_absent_rows_are_refused(made):
    given = made.documents()
    with pytest.raises(InputError, match="lack columns locator, rank"):
        canonical_documents(given.drop_columns(["locator", "rank"]))
    with pytest.raises(InputError, match="unknown column shade"):
        canonical_documents(given.append_column("shade", given.column("topic")))
    with pytest.raises(InputError, match="at least one selected document"):
        canonical_documents(given.slice(0, 0))


def test_shards_hold_at_most_the_rows_asked_for_and_row_groups_are_bounded(made, tmp_path):
    rows = ROW_GROUP_ROWS + 5
    one = canonical_documents(made.documents()).slice(0, 1)
    many = pa.concat_tables([one] * rows)

    paths = write_shards(many, tmp_path, shard_rows=rows - 2)

    assert [path.name for path in paths] == ["documents-00000.parquet", "documents-00001.parquet"]
    metadata = pq.read_metadata(paths[0])
    assert [metadata.row_group(i).num_rows for i in range(2)] == [ROW_GROUP_ROWS, 3]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert pq.read_metadata(paths[1]).num_rows == 2
    with pytest.raises(InputError, match="shard_rows must be > 0"):
        write_shards(many, tmp_path, shard_rows=0)


def with_probabilities(documents, values, weights):
    """Return documents as a sample, with inclusion probabilities and weights."""
    documents = documents.append_column("weight", pa.array(weights))
    return documents.append_column("inclusion_probability", pa.array(values, pa.float64()))


def test_a_sample_keeps_its_inclusion_probabilities_beside_the_weights(made):
    given = with_probabilities(
        made.documents(), [0.125, 0.25, 0.5, 1.0, 2.0**-60], [8.0, 4.0, 2.0, 1.0, 2.0**60]
    )
    found = canonical_documents(given)

    place = COLUMNS.index("prompt_characters")
    assert found.column_names == [*COLUMNS[:place], "inclusion_probability", *COLUMNS[place:]]
    by_id = dict(
        zip(
            given["document_id"].to_pylist(),
            given["inclusion_probability"].to_pylist(),
            strict=True,
        )
    )
    assert {row["document_id"]: row["inclusion_probability"] for row in found.to_pylist()} == by_id


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.0, r"inclusion_probability must be in \(0, 1\], got 0(\.0)? for document"),
        (-0.0, r"must be in \(0, 1\]"),
        (-0.5, r"must be in \(0, 1\], got -0.5"),
        (1.0000000000000002, r"must be in \(0, 1\], got 1"),
        (math.nan, "inclusion_probability must be finite, got nan"),
        (None, "inclusion_probability is null in 1 rows"),
    ],
)
def test_a_probability_that_is_none_is_refused_with_the_row(made, value, message):
    with pytest.raises(InputError, match=message):
        canonical_documents(
            with_probabilities(made.documents(), [0.5, 0.5, value, 0.5, 0.5], [2.0] * 5)
        )


@pytest.mark.parametrize("weight", [1.0, 3.9999999, 4.0000001])
def test_a_weight_that_is_not_the_inverse_of_the_probability_is_refused(made, weight):
    given = with_probabilities(made.documents(), [0.25] * 5, [4.0, 4.0, 4.0, weight, 4.0])

    with pytest.raises(InputError, match="weight must be 1 / inclusion_probability, got"):
        canonical_documents(given)


@pytest.mark.parametrize("probability", [1 / 3, 0.1, 1 - 2.0**-53, 3 * 2.0**-53])
def test_a_weight_may_be_off_by_the_rounding_of_a_division(made, probability):
    weights = [1 / probability, (1 / probability) * (1 + 2.0**-52)] + [1 / probability] * 3
    given = with_probabilities(made.documents(), [probability] * 5, weights)

    assert canonical_documents(given).num_rows == 5
