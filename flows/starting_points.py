"""The configs that `databourse init` and `databourse demo` write.

Those of comparisons read files as they were published. One test file gives the targets and the test
set: two parts by the hash of the text, so that no example is in both.
"""

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

# market: {{weights: equal, liquidity: {{effective_share: 0.3}}, topic_mass: proportional}}
# by default weights and liquidity are what the last settlement says: databourse settle
# settlement:               # examples for the oracle alone, which no signal reads
#   targets: [{{name: others, path: data/dev2.jsonl, text: "{{text}}"}}]
# selection: {{length_bias: 1.0, topic_floor: 0.5, diversity: 0.1}}   # or method: sample
# deduplicate: {{near: {{threshold: 0.8}}, max_removed_share_per_source: 0.5}}
#   semantic: {{threshold: 0.95}} beside near drops what says the same in other words
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

_NEWS_CONFIG = """\
# 10,000 news items with four topics, {labels_are}.
# Which sampler teaches a classifier more, at 5 to 25 % of the tokens:
#   databourse run {name}
#   databourse settle {name}               # which signals to trust; the next run uses it
#   databourse compare {name}              # --set compare.seeds=2 for a first look
# Data: {data}/ag_news_noisy/samples10000valMed.csv (github.com/hhf-hd/NoisyAG-News, dataset/)
#       {data}/ag_news/test.csv (github.com/mhjabreel/CharCnn_Keras, data/ag_news_csv/); or .gz
pool: {pool}
seed: 17
data_roots: [{data}, .]

sources:
  - name: news
    path: {data}/ag_news_noisy/samples10000valMed.csv*
    text: "{{text}}"
    label: {label}
    metadata: [gt]              # the true label: kept beside the text, read by no signal

targets:                        # an eighth of the test file, by the hash of the text
  - name: dev
    path: {data}/ag_news/test.csv*
    columns: [class, title, description]
    text: "{{title}} . {{description}}"
    label: class
    labels: {{1: 0, 2: 1, 3: 2, 4: 3}}
    part: {{of: 8, take: 0}}

settlement:
  targets:                      # another eighth, which no signal reads: the oracle measures on it
    - name: oracle
      path: {data}/ag_news/test.csv*
      columns: [class, title, description]
      text: "{{title}} . {{description}}"
      label: class
      labels: {{1: 0, 2: 1, 3: 2, 4: 3}}
      part: {{of: 8, take: 1}}

signals:
  - uncertainty
  - rarity
  - diversity
  - neighbour_agreement
  - {{name: el2n, prefer: low}}
  - density
  - information_entropy
  - length
  - influence
# with a small language model also: {{name: perplexity, prefer: middle}}, trak, quad
budget: {{share: 0.1}}

compare:
  test:                         # the other three quarters, which nothing else reads
    name: test
    path: {data}/ag_news/test.csv*
    columns: [class, title, description]
    text: "{{title}} . {{description}}"
    label: class
    labels: {{1: 0, 2: 1, 3: 2, 4: 3}}
    part: {{of: 8, take: [2, 3, 4, 5, 6, 7]}}
  budgets: [0.05, 0.1, 0.15, 0.2, 0.25]
  seeds: 10
  pool_share: 0.9               # another tenth is left out by each seed
  truth: {{label: gt}}
  proxy: linear                 # or encoder: the encoder itself, fine-tuned on every pick
  samplers:
    - random
    - all
    - market_settled
    - market_regression
    - market_equal_weights
    - uncertainty:top
    - rarity:top
    - density:top
    - el2n:bottom
    - neighbour_agreement:top
    - influence:top
    - z_score_sum:uncertainty,rarity,density,-el2n,neighbour_agreement,influence
    - shortest_first
    - stratified_random
    - k_center
    - facility_location
    - semdedup
    - density_sharp
    - d2_pruning
    - dsir_top
    - quality_classifier_embeddings
"""

_GSM8K_CONFIG = """\
# 7,473 school problems with their solutions: which 60,000 tokens teach a small transformer most?
#   databourse run {name}
#   databourse settle {name}               # which signals to trust; the next run uses it
#   databourse compare {name}              # --set compare.seeds=2 for a first look
# Data: {data}/gsm8k/train.jsonl and test.jsonl (github.com/openai/grade-school-math)
pool: {pool}
seed: 17
data_roots: [{data}, .]

sources:
  - name: train
    path: {data}/gsm8k/train.jsonl*
    prompt: "{{question}}"
    completion: "{{answer}}"

targets:                        # a quarter of the test file, by the hash of the text
  - name: dev
    path: {data}/gsm8k/test.jsonl*
    prompt: "{{question}}"
    completion: "{{answer}}"
    part: {{of: 4, take: 0}}

settlement:
  targets:                      # another quarter, which no signal reads: the oracle measures on it
    - name: oracle
      path: {data}/gsm8k/test.jsonl*
      prompt: "{{question}}"
      completion: "{{answer}}"
      part: {{of: 4, take: 1}}

signals: [rarity, density, {{name: perplexity, prefer: middle}}, ifd, dsir, trak]
budget: {{tokens: 60000}}

compare:
  test:                         # the other half: bits per token of the answers
    name: test
    path: {data}/gsm8k/test.jsonl*
    prompt: "{{question}}"
    completion: "{{answer}}"
    part: {{of: 4, take: [2, 3]}}
  budgets: [60000]
  seeds: 10
  pool_share: 0.9               # another tenth is left out by each seed
  proxy: causal_lm
  causal_lm: {{epochs: 4}}        # every training reads 240,000 tokens
  samplers:
    - random
    - market_settled
    - market_equal_weights
    - rarity:top
    - density:top
    - perplexity_middle
    - perplexity_low
    - ifd:top
    - dsir
    - dsir_top
    - quality_classifier
    - dsdm
    - k_center
    - semdedup
    - shortest_first
"""

_EXAMPLES = {
    "ag_news": (_NEWS_CONFIG, {"label": "gt", "labels_are": "true labels"}),
    "ag_news_noisy": (
        _NEWS_CONFIG,
        {"label": "label", "labels_are": "labelled by people, a fifth of them wrongly"},
    ),
    "gsm8k": (_GSM8K_CONFIG, {}),
}

EXAMPLES = tuple(_EXAMPLES)
"""Names of the comparisons that `init` writes."""


def example_config(name: str, *, file_name: str, data: str) -> str:
    """Return the config of a comparison.

    Args:
        name: one of `EXAMPLES`.
        file_name: that the config will have.
        data: folder with the published files, as written into the config.
    """
    text, words = _EXAMPLES[name]
    return text.format(name=file_name, pool=name, data=data, **words)
