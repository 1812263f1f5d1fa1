"""Shakespeare, character by character: a language model of 1.1 million characters (Karpathy's char-rnn, nanoGPT).

    python train.py --config=configs/shakespeare.py:transformer_decoder --workdir=runs/shakespeare \\
        --config.data.dir=FOLDER

    python train.py --config=configs/shakespeare.py:transformer_decoder,as_taught --workdir=runs/as-taught ...
    python train.py --config=configs/shakespeare.py:transformer_decoder,current_practice --workdir=runs/current ...

FOLDER holds input.txt or input.txt.gz; any other text is trained on with --config.data.file=NAME.
The first 90 % are for training, the rest for validation, as in nanoGPT, whose small CPU setting reaches 1.88.

Expected, in bits per byte of val (`eval.py`), in windows of 128 characters as they are here:
  ngram, --config.model.order=1 to 6   4.83, 3.58, 2.95, 2.51, 2.29, 2.23; counted in 2 s at most (commit f710d3e)
  transformer_decoder   2.58 (commit d795f08, 6.5 minutes of one core of an AMD EPYC)
  transformer_decoder, as_taught and current_practice   2.25 each, three seeds; at a rate of 1e-3 2.58 and 2.35 of
  one seed (commit 5fab65a, 6 to 8 minutes of one core of an Intel Xeon)
nanoGPT's 1.88 nats are 2.71 bits.
"""

from configs import common

# The Transformer in two dresses. SwiGLU has three matrices, so its inner layer is two thirds as wide; what shared heads
# of keys save, it gets too: at the width of 128 the second has 0.1 % more parameters in its layers. At another
# width give its model.mlp_dim, 3.03 times as much; it does not follow. The rate is the best of four for each.
DRESSES = {
    "default": {},  # the architecture's own values
    # Vaswani et al. 2017, as courses teach it.
    "as_taught": {
        "model.norm": "post",
        "model.norm_kind": "layernorm",
        "model.positions": "sinusoidal",
        "model.activation": "relu",
        "model.num_kv_heads": 0,
        "model.use_bias": True,
        "model.mlp_dim": 512,
        "optimizer.learning_rate": 9e-3,
    },
    # Touvron et al. 2023 and after.
    "current_practice": {
        "model.norm": "pre",
        "model.norm_kind": "rmsnorm",
        "model.positions": "rotary",
        "model.activation": "swiglu",
        "model.num_kv_heads": 2,
        "model.use_bias": False,
        "model.mlp_dim": 388,
        "optimizer.learning_rate": 9e-3,
    },
}


def get_config(argument):
    model, dress = common.setting(argument, DRESSES)
    config = common.base("shakespeare", model)
    config.batch_size = 32
    config.model.num_layers = 2
    config.data.update(
        {
            "dir": "",  # folder of the text; empty: download tiny_shakespeare through TFDS
            "file": "input.txt",  # its name in the folder
            "tokenizer": {
                "name": "char",  # char (0: every character), byte, unigram, bpe
                "vocab_size": 0,  # entries; 0 where the kind decides: every character, or 256 bytes
                "normalization": "identity",  # text as written; unigram and bpe: nfkc, nmt_nfkc, nfkc_cf, nmt_nfkc_cf
            },
            "lowercase": False,  # turn all text into lower case
            "length": 128,  # tokens of a window
            "train_examples": 0,  # how many documents to train on, from the first on; 0: all
            "cache_dir": "",  # where tokenizers are cached; empty: ~/.cache/longreach
        }
    )
    common.preset(config, {"transformer_decoder": dress})
    if dress and model != "transformer_decoder":
        raise ValueError(f"setting: only transformer_decoder has dresses; leave it out for {model}")
    return config
