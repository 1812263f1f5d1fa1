"""Multi30k: German to English image descriptions, 29,000 pairs (Elliott et al. 2016).

    python train.py --config=configs/multi30k.py:transformer --workdir=runs/multi30k-transformer
    ... --config.data.dir=FOLDER    reads train.de.gz, train.en.gz, val... there instead of downloading

Expected: not measured yet.
"""

from configs import common


def get_config(model):
    config = common.base("multi30k", model)
    del config.batch_size
    config.tokens_per_batch = 2048  # rows times the longer of source and target, at most
    config.data.update({
        "dir": "",  # raw files, or where TFDS keeps data sets; empty: downloaded through TFDS
        "source_language": "de",  # de, en or fr
        "target_language": "en",
        "tokenizer": {"name": "unigram", "vocab_size": 6000, "joint": True},  # unigram, bpe, char, byte
        "lowercase": True,
        "max_length": 128,  # tokens; longer training pairs are left out and counted
        "train_examples": 0,  # the first so many; 0 for all
        "num_buckets": 16,  # static shapes; 16 leave 8.7 % padding, 20 leave 7.6 %
        "cache_dir": "",  # of tokenizers; empty: ~/.cache/longreach
    })  # fmt: skip
    config.label_smoothing = 0.1
    return config
