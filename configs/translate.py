"""Translation of your own text: any pair of parallel files, plain or .gz, UTF-8, one example a line.

    python train.py --config=configs/translate.py:transformer --workdir=runs/mine --config.data.dir=FOLDER \
        --config.data.source_language=cs --config.data.target_language=en

FOLDER holds train.cs, train.en, val.cs, val.en and, if you like, more pairs such as test.cs, test.en.
Files with other names are given one by one: --config.data.train_source=FILE --config.data.train_target=FILE ...
"""

from configs import common


def get_config(model):
    config = common.base("translate", model)
    config.keep_pages = True
    del config.batch_size
    config.tokens_per_batch = 4096  # rows times the longer of source and target, at most
    config.data.update(
        {
            "dir": "",  # the folder of the files
            "source_language": "de",  # the endings of the files
            "target_language": "en",  # the endings of the files
            "train_source": "",  # a file named by itself, instead of one in dir
            "train_target": "",  # a file named by itself, instead of one in dir
            "val_source": "",  # a file named by itself, instead of one in dir
            "val_target": "",  # a file named by itself, instead of one in dir
            "test_source": "",  # a file named by itself, instead of one in dir
            "test_target": "",  # a file named by itself, instead of one in dir
            "tokenizer": {
                "name": "unigram",  # unigram, bpe, char, byte
                "vocab_size": 8000,
                "joint": True,
                "normalization": "identity",  # text as written; unigram and bpe: nfkc, nmt_nfkc, nfkc_cf, nmt_nfkc_cf
            },
            "lowercase": False,  # read everything in lower case
            "max_length": 128,  # tokens; longer training pairs are left out and counted
            "train_examples": 0,  # the first so many; 0 for all
            "num_buckets": 16,  # static shapes
            "cache_dir": "",  # of tokenizers; empty: ~/.cache/longreach
        }
    )
    config.steps = 10_000
    config.label_smoothing = 0.1
    return config
