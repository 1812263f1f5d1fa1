"""Shakespeare, character by character: a language model of 1.1 million characters (Karpathy's char-rnn, nanoGPT).

    python train.py --config=configs/shakespeare.py:transformer_decoder --workdir=runs/shakespeare \
        --config.data.dir=FOLDER

FOLDER holds input.txt or input.txt.gz; any other text is trained on with --config.data.file=NAME.
The first 90 % are for training, the rest for validation, as in nanoGPT, whose small CPU setting reaches 1.88.

Expected: not measured yet.
"""

from configs import common


def get_config(model):
    config = common.base("shakespeare", model)
    config.keep_pages = True
    config.batch_size = 32
    config.model.num_layers = 2
    config.data.update(
        {
            "dir": "",  # the folder of the text; empty: tiny_shakespeare through TFDS
            "file": "input.txt",  # its name there
            "tokenizer": {
                "name": "char",  # char (0: every character), byte, unigram, bpe
                "vocab_size": 0,
                "normalization": "identity",  # text as written; unigram and bpe: nfkc, nmt_nfkc, nfkc_cf, nmt_nfkc_cf
            },
            "lowercase": False,  # read everything in lower case
            "length": 128,  # tokens of a window
            "train_examples": 0,  # the first so many documents; 0 for all
            "cache_dir": "",  # of tokenizers; empty: ~/.cache/longreach
        }
    )
    return config
