"""The configs that `databourse init` and `databourse demo` write."""

from __future__ import annotations

INIT_CONFIG = """\
# A refresh of one pool. Check it with: databourse validate {name}
# Every key and its default: databourse validate {name} --show
pool: my_pool
seed: 17                        # one root seed; the same inputs and config give the same manifest

sources:
  - name: my_source
    path: data/*.jsonl          # jsonl, csv, parquet; .gz and .zst; globs; lists; fsspec URIs
    text: "{{text}}"              # a template over columns, such as "{{title}}. {{body}}"
    # label: label              # a column with labels makes uncertainty and agreement label-aware
    # prompt: "{{question}}"      # instead of text: pairs, whose parts stay known
    # completion: "{{answer}}"

signals: [uncertainty, rarity, diversity]     # the traders; add neighbour_agreement with labels
# more traders: perplexity, generative_entropy, euds (a small language model is trained on the
# pool); with pairs ifd, completion_loss; with a model that answers ask_llm, ask_llm_distilled
# language_model: {{name: reference}}     # or a local folder, or a hub id
# ask_llm: {{model: my-folder}}           # or a hub id, or the endpoint of a server:
# ask_llm: {{endpoint: {{base_url: "http://localhost:8000/v1", model: my-model}}}}

# targets:                  # examples of the task to be good at; they are kept out of the pool
#   - {{name: my_task, path: data/dev.jsonl, text: "{{text}}"}}  # or prompt and completion; label
# with targets also: dsir, quality_classifier, trak, quad; with labels influence
# decontaminate: {{against: [data/test.jsonl]}}      # read as the first source is

budget: {{tokens: 1000000}}       # or documents: 5000, or share: 0.1

# market: {{liquidity: {{effective_share: 0.3}}, weights: equal, topic_mass: proportional}}
# selection: {{length_bias: 1.0, topic_floor: 0.5, diversity: 0.1}}   # or method: sample
# deduplicate: {{near: {{threshold: 0.8}}, max_removed_share_per_source: 0.5}}
# topics: {{by: kmeans, count: 32}}
# compare:                  # which sampler teaches more: databourse compare
#   test: {{name: my_test, path: data/test.jsonl, text: "{{text}}"}}
#   samplers: [random, market]
"""

DEMO_CONFIG = """\
# The demo: docstrings of the Python packages installed beside databourse, written by many hands,
# with real duplicates, real topics and very uneven lengths.
pool: docstrings
seed: 17
sources:
  - name: installed_packages
    kind: docstrings
    packages: [matplotlib, pandas, prefect, sqlalchemy]
    min_characters: 80
    limit: 4600
signals: [uncertainty, rarity, diversity]
selection: {length_bias: 0.5}   # half way between price per document and price per token
budget: {tokens: 60000}
"""
