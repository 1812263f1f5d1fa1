"""Multi30k: German to English image descriptions, 29,000 pairs (Elliott et al. 2016).

    python train.py --config=configs/multi30k.py:transformer --workdir=runs/multi30k-transformer
    ... --config.data.dir=FOLDER    reads train.de.gz, train.en.gz, val... there instead of downloading

Expected (BLEU lowercased, beam 5, test_2016_flickr and val; on an AMD EPYC in 36 minutes of 2 quiet cores with
`transformer`, in 42 and 46 of one with `gru` and `gru_attention`, docs/results/multi30k.md):
`gru_attention` 38.7 and 39.1, `gru` 26.9 and 26.2 (commit 1106bf2), `transformer` 39.2 and 40.3 (commit d795f08).
`conv` 41.4 and 40.8 (commit 0788391) in 48 minutes of one core of an Intel Xeon beside other work, some 40 of two quiet
ones; with 8,000 steps 41.9 and 42.3 (commit 5fab65a). bentrevett's tutorial, of 37 M parameters, has 34.1.
"""

from configs import common

# Sized so that each trains in 45 minutes on 2 cores; learning rates are the best of four trials each, on val. Those of
# `conv` and `encoder_decoder` are the Transformer's.
RECURRENT = {
    "model.embed_size": 256,
    "model.num_layers": 1,
    "model.bidirectional": True,
    "model.input_dropout_rate": 0.25,
    "model.output_dropout_rate": 0.25,
    "optimizer.learning_rate": 3e-3,
    "schedule.warmup_steps": 400,
}
TRANSFORMER = {
    "model.hidden_size": 256,
    "model.num_layers": 3,
    "model.num_heads": 8,
    "model.mlp_dim": 512,
    "model.dropout_rate": 0.2,
    "optimizer.learning_rate": 1.5e-3,
    "schedule.warmup_steps": 400,
    "steps": 8000,
}
PRESETS: dict[str, dict] = {
    "gru": RECURRENT | {"model.hidden_size": 448, "model.context": "every_step", "steps": 6000},
    "gru_attention": RECURRENT | {"model.hidden_size": 320, "model.attention.size": 128, "steps": 7500},
    "conv": {
        "model.hidden_size": 256,
        "model.num_layers": 5,
        "model.dropout_rate": 0.2,
        "optimizer.learning_rate": 1.5e-3,
        "schedule.warmup_steps": 400,
        "steps": 5500,
    },
    "transformer": TRANSFORMER,
    "encoder_decoder": TRANSFORMER,  # with any mixers: model.encoder_mixers, model.decoder_mixers
}


DATA = {
    "dir": "",  # folder of the raw files, or of TFDS's data sets; empty: download through TFDS
    "source_language": "de",  # de, en or fr
    "target_language": "en",  # de, en or fr
    "tokenizer": {"vocab_size": 6000},
    "lowercase": True,  # turn all text into lower case
    "num_buckets": 20,  # shapes of batches: each takes seconds to compile; 10 leave 11 % padding, 20 leave 7.5 %
}


def get_config(model):
    config = common.translation("multi30k", model, DATA)
    config.tokens_per_batch = 1024  # largest batch: rows times the longer of source and target
    config.optimizer.ema_decay = 0.995
    config.best.metric = "token_accuracy"
    common.preset(config, PRESETS)
    return config
