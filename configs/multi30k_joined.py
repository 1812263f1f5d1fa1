"""Multi30k in long: captions joined to 10 to 60 words, German to English, to see what a sentence's length does.

    python train.py --config=configs/multi30k_joined.py:gru_attention --workdir=runs/joined-gru-attention
    python train.py --config=configs/multi30k_joined.py:gru_attention,short --workdir=runs/short-gru-attention
    ... --config.data.dir=FOLDER    reads train.de.gz, train.en.gz, val... there instead of downloading

Recurrent encoders read in one direction. The setting `short` trains to 20 words; the test splits stay as they are.

Expected (BLEU lowercased, beam 5, test_2016_flickr and val; commit d795f08): gru_attention 36.7 and 36.6, in 9
minutes of 1 core of an AMD EPYC beside other work. With 300,000 parameters besides embeddings and 2,000 steps,
translations of 50 to 60 words reach 26 BLEU with gru_attention and 7.4 with gru (docs/results/sentence_length.md).
"""

from configs import common, multi30k

SETTINGS = {
    "all_lengths": {
        "min_words": 10,  # fewest words in the source
        "max_words": 60,  # most words in the source, in train and val
        "test_words": 60,  # most words in the source, in the other splits
    },
    "short": {"min_words": 10, "max_words": 20, "test_words": 60},
}

RECURRENT: dict = {
    "model.num_layers": 1,
    "model.input_dropout_rate": 0.1,
    "model.output_dropout_rate": 0.1,
    "model.variational_dropout": True,
}
PRESETS: dict[str, dict] = {
    **dict.fromkeys(("rnn", "lstm", "gru"), RECURRENT | {"model.context": "every_step"}),
    **dict.fromkeys(("rnn_attention", "lstm_attention", "gru_attention"), RECURRENT),
    "transformer": {"model.num_layers": 3, "model.dropout_rate": 0.1},
}


def get_config(model):
    name, data = common.setting(model, SETTINGS)
    config = common.translation("multi30k_joined", name, multi30k.DATA | data)
    config.tokens_per_batch = 1024  # largest batch: rows times the longer of source and target
    config.data.update(
        {
            "train_passes": 2,  # how many examples each sentence is used in, each time with other neighbours
            "eval_passes": 3,  # the same, in the other splits
            "test_range": 10,  # words; each such range of lengths in a test split uses all of its sentences
            "joins": 0,  # seed of the joining
            "tokenizer": {"vocab_size": 4000},
            "num_buckets": 12,
        }
    )
    config.model.hidden_size = 128
    common.preset(config, PRESETS)
    config.optimizer.learning_rate = 2e-3
    config.schedule.warmup_steps = 200
    config.best.metric = "token_accuracy"
    config.steps = 4000
    return config
