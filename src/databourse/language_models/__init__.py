"""Language models: a small causal transformer trained on the pool, and losses under any such model.

Notation of the package: a document's tokens are x_1 .. x_T, x_0 is the model's start token; the
loss of a token is -ln p(x_t | x_<t), the entropy before it is H(p(. | x_<t)), both in nats.
"""
