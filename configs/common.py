"""What every config shares: the run's keys.

A config file starts from `base(task, model)`, then sets what its task needs. Values only. Of the model it sets what the
task asks for; the loader completes it with the architecture's own defaults (`options` of its class in models/), where
other widths follow model.hidden_size, also where a flag sets that. A comment behind a key is what `--help` says of it.
"""

import difflib

from ml_collections import ConfigDict


def base(task: str, name: str) -> ConfigDict:
    """The keys of every run, with defaults that train; `name` is an architecture."""
    config = ConfigDict()
    config.task = task  # set by the file
    config.seed = 0  # of parameters, dropout and the order of examples
    config.steps = 2000  # updates
    config.batch_size = 64  # examples; text tasks have tokens_per_batch instead
    config.init_from = ""  # a run's folder, whose weights this one begins with, where names and shapes agree
    config.model = ConfigDict({"name": name})
    config.data = ConfigDict()
    config.optimizer = ConfigDict(
        {
            "name": "adam",  # adam, adamw, sgd, adafactor
            "learning_rate": 1e-3,  # at the peak of the schedule
            "b1": 0.9,  # adam: decay of the mean of gradients
            "b2": 0.98,  # adam: decay of the mean of their squares
            "eps": 1e-9,  # adam
            "weight_decay": 0.0,  # adamw
            "momentum": 0.9,  # sgd
            "clip_norm": 1.0,  # global norm; 0 for none
            "accumulation": 1,  # micro-batches per step
            "ema_decay": 0.0,  # of a moving average of the parameters; 0 for none
        }
    )
    config.schedule = ConfigDict(
        {
            "name": "cosine",  # inverse_square_root, cosine, linear, constant
            "warmup_steps": 100,  # of linear growth from 0
            "final_fraction": 0.0,  # of the peak, where cosine and linear end
        }
    )
    config.label_smoothing = 0.0  # share of the target that is spread over all outputs
    config.loss_positions = 0  # target positions whose logits exist at once, for large vocabularies; 0: all
    config.early_stopping = ConfigDict(
        {
            "patience": 0,  # evaluations without a better best; 0: never
        }
    )
    config.best = ConfigDict(
        {
            "metric": "loss",  # loss, perplexity (lowest), token_accuracy, exact_match, bleu, chrf (highest)
        }
    )
    config.every = ConfigDict(
        {
            "log": 50,  # steps
            "eval": 500,  # steps
            "save": 500,  # steps
            "decode": 0,  # steps, a multiple of eval: BLEU and chrF of greedy translations of validation; 0: never
        }
    )
    config.keep = 3  # newest checkpoints kept, beside the best
    config.eval_examples = 0  # of the validation split at each evaluation; 0 for all
    config.decode_examples = 500  # of the validation split at each of every.decode; 0 for all
    config.cpu_devices = 1  # devices that a CPU is split into; a batch is shared out between them
    config.keep_pages = False  # Linux CPUs: freed memory stays with the process; faster for large models, not for small
    config.deterministic = False  # ask the compiler for deterministic GPU kernels
    config.profile = False  # trace a few steps into RUN/profile
    config.workers = 0  # processes that make batches; 0: threads
    config.tracker = ConfigDict({"name": "wandb"})  # what mirrors the run: wandb, tensorboard, trackio
    config.wandb = ConfigDict(
        {
            "mode": "auto",  # auto (online with credentials, else offline), online, offline, disabled
            "project": "longreach",  # where runs are shown
            "group": task,  # runs shown together
            "name": name,  # of this run
        }
    )
    return config


PAIRS = {
    "tokenizer": {
        "name": "unigram",  # unigram, bpe, char, byte
        "vocab_size": 8000,
        "joint": True,
        "normalization": "identity",  # text as written; unigram and bpe: nfkc, nmt_nfkc, nfkc_cf, nmt_nfkc_cf
    },
    "lowercase": False,  # read everything in lower case
    "max_length": 128,  # translation: tokens; longer training pairs are left out and counted
    "train_examples": 0,  # the first so many; 0 for all
    "num_buckets": 16,  # static shapes: each takes seconds to compile; fewer leave more padding
    "cache_dir": "",  # of tokenizers; empty: ~/.cache/longreach
}
"""Keys of the data of every task whose examples are a sentence and its translation."""


def synthetic(task: str, argument: str, settings: dict[str, dict]) -> ConfigDict:
    """The config of a synthetic task, for `model` or `model,setting`; small models, drawn examples, 3,000 steps."""
    name, data = setting(argument, settings)
    config = base(task, name)
    config.data.update(data)
    config.steps = 3000
    config.eval_examples = 1024
    config.model.hidden_size = 64
    return config


def translation(task: str, name: str, data: dict) -> ConfigDict:
    """The config of a task of sentence pairs: batches by tokens, smoothed labels; `data` goes over `PAIRS`."""
    config = base(task, name)
    config.keep_pages = True
    config.model.num_layers = 2
    del config.batch_size
    config.tokens_per_batch = 4096  # rows times the longer of source and target, at most
    config.data.update(PAIRS)
    config.data.update(data)
    config.label_smoothing = 0.1
    return config


def preset(config: ConfigDict, presets: dict[str, dict]) -> None:
    """Sets what `presets` has for the config's architecture, by dotted key; for another the task's values stay."""
    for key, value in presets.get(config.model.name, {}).items():
        for name in reversed(key.split(".")):
            value = {name: value}
        config.update(value)


def setting(argument: str, settings: dict[str, dict]) -> tuple[str, dict]:
    """Splits a config's argument, `model` or `model,setting`, into the model and the setting's values.

    The first setting is the default. Raises ValueError for a name that is not a setting.
    """
    name, _, chosen = argument.partition(",")
    chosen = chosen or next(iter(settings))
    if chosen not in settings:
        near = difflib.get_close_matches(chosen, settings, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"setting = {chosen!r} is not known; {hint}choose from {', '.join(settings)}")
    return name, settings[chosen]
