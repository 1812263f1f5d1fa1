"""Word order: have two neighbouring words of a caption changed places? (BShift of Conneau et al. 2018, on Multi30k)

    python train.py --config=configs/word_order.py:transformer_encoder --workdir=runs/word-order \\
        --config.data.dir=FOLDER
    ... --config.init_from=RUN    starts from a run of configs/masked_text.py:transformer_encoder,multi30k

FOLDER holds train.en.gz, train.de.gz, val... as configs/multi30k.py reads them.

Expected on test_2016_flickr (commit e41ae19, docs/results/multi30k.md): .50 to .54 from scratch, .66 to .69
pre-trained; with --config.data.labelled_examples=500 --config.data.swaps=16 .54 to .60 from scratch; chance 0.5.
"""

from configs import common


def get_config(model):
    config = common.base("word_order", model)
    config.batch_size = 32
    config.steps = 600
    config.model.num_layers = 2
    config.data.update(
        {
            "dir": "",  # folder of the raw files, or of TFDS's data sets; empty: download through TFDS
            "language": "en",  # de, en, fr
            "tokenizer": {"name": "unigram", "vocab_size": 4000, "normalization": "identity"},
            "lowercase": True,  # turn all text into lower case
            "length": 64,  # most tokens in a caption
            "swaps": 1,  # swaps of neighbouring words in a changed caption; more are easier to see
            "labelled_examples": 1000,  # how many captions to train on, from the first on; 0: all
            "train_examples": 0,  # how many captions the tokenizer learns from, from the first on; 0: all
            "cache_dir": "",  # where tokenizers are cached; empty: ~/.cache/longreach
        }
    )
    config.optimizer.learning_rate = 5e-4
    config.every.eval = 100
    config.best.metric = "token_accuracy"
    return config
