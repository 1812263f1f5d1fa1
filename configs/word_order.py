"""Word order: have two neighbouring words of a caption changed places? (BShift of Conneau et al. 2018, on Multi30k)

    python train.py --config=configs/word_order.py:transformer_encoder --workdir=runs/word-order \
        --config.data.dir=FOLDER
    ... --config.init_from=RUN    starts from a run of configs/masked_text.py:transformer_encoder,multi30k

FOLDER holds train.en.gz, train.de.gz, val... as configs/multi30k.py reads them.

Expected: .48 to .52 with 1,000 labels, .54 to .65 with 500 and 16 swaps (docs/log.md, 2026-11-27); chance 0.5.
"""

from configs import common


def get_config(model):
    config = common.base("word_order", model)
    config.keep_pages = True
    config.batch_size = 32
    config.steps = 600
    config.model.num_layers = 2
    config.data.update(
        {
            "dir": "",  # raw files, or where TFDS keeps data sets; empty: downloaded through TFDS
            "language": "en",  # de, en, fr
            "tokenizer": {"name": "unigram", "vocab_size": 4000, "normalization": "identity"},
            "lowercase": True,  # read everything in lower case
            "length": 64,  # tokens of a caption, at most
            "swaps": 1,  # of neighbours in a changed caption; the more, the easier
            "labelled_examples": 1000,  # captions to train on, the first so many; 0 for all
            "train_examples": 0,  # of the text that a tokenizer learns from, the first so many captions; 0 for all
            "cache_dir": "",  # of tokenizers; empty: ~/.cache/longreach
        }
    )
    config.optimizer.learning_rate = 5e-4
    config.every.eval = 100
    config.best.metric = "token_accuracy"
    return config
