"""Multi30k: German to English image descriptions, 29,000 pairs (Elliott et al. 2016).

    python train.py --config=configs/multi30k.py:transformer --workdir=runs/multi30k-transformer
    ... --config.data.dir=FOLDER    reads train.de.gz, train.en.gz, val... there instead of downloading
"""

from configs.common import base


def get_config(model: str = "transformer"):
    config = base("multi30k", model)
    del config.batch_size
    config.tokens_per_batch = 2048  # the longer of source and target, padding included
    config.data = {
        "dir": "",  # raw files or a prepared TFDS folder; empty: downloaded and prepared through TFDS
        "source_language": "de",  # de, en or fr
        "target_language": "en",
        "tokenizer": {"name": "unigram", "vocab_size": 6000, "joint": True},  # unigram, bpe, char, byte
        "lowercase": True,
        "max_length": 128,  # tokens; longer training pairs are left out and counted
        "train_examples": 0,  # the first so many; 0 for all
        "num_buckets": 16,  # static shapes; 16 pad 8.7 % of the positions, 20 pad 7.6 %
        "cache_dir": "",  # of tokenizers; empty: ~/.cache/longreach
    }
    config.label_smoothing = 0.1
    return config
