"""Any TFDS translation or text data set, by name, without TensorFlow.

    python train.py --config=configs/tfds.py:transformer --workdir=runs/ted \
        --config.data.name=ted_hrlr_translate/pt_to_en
    ... --config.data.name=wmt14_translate/de-en    4.5 million pairs
    python train.py --config=configs/tfds.py:transformer_decoder --workdir=runs/lm1b --config.data.name=lm1b

A data set that cannot be prepared here is prepared elsewhere, and --config.data.dir points at it.
"""

from configs import common


def get_config(model):
    config = common.base("tfds", model)
    config.keep_pages = True
    del config.batch_size
    config.tokens_per_batch = 4096  # rows times the longer of source and target, at most
    config.data.update(
        {
            "name": "ted_hrlr_translate/pt_to_en",  # of the data set, with its config
            "dir": "",  # where TFDS keeps data sets, or the folder of one; empty: TFDS's own place
            "source_language": "",  # translation; empty: the data set's own direction
            "target_language": "",  # the same
            "feature": "text",  # of a text data set
            "tokenizer": {
                "name": "unigram",  # unigram, bpe, char, byte
                "vocab_size": 8000,
                "joint": True,
                "normalization": "identity",  # text as written; unigram and bpe: nfkc, nmt_nfkc, nfkc_cf, nmt_nfkc_cf
            },
            "lowercase": False,  # read everything in lower case
            "max_length": 128,  # translation: tokens; longer training pairs are left out and counted
            "length": 256,  # text: tokens of a window
            "train_examples": 0,  # the first so many pairs or documents; 0 for all
            "num_buckets": 16,  # static shapes
            "cache_dir": "",  # of tokenizers; empty: ~/.cache/longreach
        }
    )
    config.steps = 20_000
    config.label_smoothing = 0.1
    return config
