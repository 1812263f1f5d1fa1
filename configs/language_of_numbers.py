"""The language of numbers: numbers in words to digits and back, in thirteen languages, made as they are needed.

    python train.py --config=configs/language_of_numbers.py:gru_attention --workdir=runs/numbers-gru-attention
    python train.py --config=configs/language_of_numbers.py:transformer,from_many --workdir=runs/numbers-from-many

Expected (small, 1,000 steps, on 2 shared cores of an Intel Xeon, commit 1f9759c with these values): gru_attention
answers 0.998 of test exactly and none of test_long, whose numbers have one or two digits more; 97 s of CPU time. Digits
are one word, so that BLEU says nothing here: read exact_match.
"""

from configs import common

SMALL = {
    "source_languages": "en",  # separated by commas: digits, cs, de, en, es, fi, fr, it, nl, pl, pt, ru, sv, tr
    "target_languages": "digits",  # likewise; with several, the source names the one to write
    "min_digits": 1,  # fewest digits
    "max_digits": 7,  # most digits, except in test_long; seven use every word that eight and nine need
    "long_digits": 9,  # most digits in the split test_long, more than max_digits; 0: no such split
    "train_examples": 20000,  # examples in the split train
    "val_examples": 1000,  # examples in the split val
    "test_examples": 2000,  # examples in the split test, and in test_long
    "tokenizer": {"name": "char", "vocab_size": 0},
    "max_length": 256,
    "num_buckets": 6,  # shapes of batches: each takes seconds to compile, and fewer mean more padding
}
MANY = "cs,de,en,es,fi,fr,it,nl,pl,pt,ru,sv,tr"

SETTINGS = {
    "small": SMALL,
    "to_words": SMALL | {"source_languages": "digits", "target_languages": "en"},
    "from_many": SMALL | {"source_languages": MANY, "train_examples": 100000},
    "to_many": SMALL | {"source_languages": "digits", "target_languages": MANY, "train_examples": 100000},
    "de_en": SMALL | {"source_languages": "de", "target_languages": "en"},
}


def get_config(model):
    name, data = common.setting(model, SETTINGS)
    config = common.translation("language_of_numbers", name, data)
    config.steps = 1000
    config.tokens_per_batch = 2048  # largest batch: rows times the longer of source and target
    config.model.hidden_size = 128
    config.optimizer.learning_rate = 3e-3
    config.label_smoothing = 0.0  # there is one right answer
    config.best.metric = "exact_match"
    return config
