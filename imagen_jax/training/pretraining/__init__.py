"""How the tiny text encoders learn before they are frozen (D.1, scaled down).

An objective is a frozen dataclass that `pretrain_text` drives:

  model                              the network's config, parts thrown away
                                     later included
  encoder                            the config of what is kept
  init(key)                          parameters of everything
  kept(params)                       those of the encoder
  example(corpus, index, documents, tokenizer, rng)
                                     one row of a batch, a dict of arrays
  loss_and_accuracy(params, batch)   scalars

`spans` is T5's, `masked` BERT's, `pairs` CLIP's; `sentences` is what they read,
`loop` the run of any small network, which the judge of scenes learns in too.
"""
