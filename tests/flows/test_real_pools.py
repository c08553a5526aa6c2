"""A refresh of real data: ten thousand noisily labelled news under a budget of 60,000 tokens."""

import duckdb
import pytest
import yaml

from databourse.manifests import open_manifest, verify


@pytest.mark.slow
def test_ag_news_noisy_spends_its_budget_to_the_last_document_that_fits(
    refresh, data_folder, tmp_path
):
    config = {
        "pool": "ag_news",
        "seed": 17,
        "data_roots": [str(data_folder)],
        "sources": [
            {
                "name": "ag_news_noisy",
                "path": str(data_folder / "ag_news_noisy" / "*.csv.gz"),
                "text": "{text}",
                "label": "label",
                "metadata": ["gt"],
            }
        ],
        "encoder": "hashing",
        "signals": ["uncertainty", "rarity", "diversity", "neighbour_agreement"],
        "budget": {"tokens": 60000},
    }
    path = tmp_path / "ag_news.yaml"
    path.write_text(yaml.safe_dump(config))

    result = refresh(path)

    assert result.candidates > 9_900
    assert result.tokens <= 60_000
    with duckdb.connect(str(tmp_path / "warehouse" / "bourse.duckdb"), read_only=True) as tables:
        left = tables.execute("select min(tokens) from prices where not is_selected").fetchall()
    assert result.tokens + left[0][0] > 60_000
    assert verify(result.path).ok
    labels = set(open_manifest(result.path).to_arrow(["label"])["label"].to_pylist())
    assert labels == {"0", "1", "2", "3"}
