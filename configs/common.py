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
    config.task = task  # set by the config file
    config.seed = 0  # seed of parameters, dropout and the order of examples
    config.steps = 2000  # number of updates
    config.batch_size = 64  # examples per batch; text tasks have tokens_per_batch instead
    config.init_from = ""  # folder of a run whose weights this one starts with, where names and shapes agree
    config.model = ConfigDict({"name": name})
    config.data = ConfigDict()
    config.optimizer = ConfigDict(
        {
            "name": "adam",  # adam, adamw, sgd, adafactor
            "learning_rate": 1e-3,  # peak of the schedule
            "b1": 0.9,  # adam: decay of the gradients' mean
            "b2": 0.98,  # adam: decay of the mean of the gradients' squares
            "eps": 1e-9,  # adam: added to the denominator
            "weight_decay": 0.0,  # adamw: decay of the weights
            "momentum": 0.9,  # sgd: momentum
            "clip_norm": 1.0,  # largest global norm of the gradient; 0: no clipping
            "accumulation": 1,  # micro-batches per step
            "ema_decay": 0.0,  # decay of a moving average of the parameters; 0: no average
        }
    )
    config.schedule = ConfigDict(
        {
            "name": "cosine",  # inverse_square_root, cosine, linear, constant
            "warmup_steps": 100,  # steps of linear growth from 0
            "final_fraction": 0.0,  # share of the peak at which cosine and linear end
        }
    )
    config.label_smoothing = 0.0  # share of the target's probability that is spread over all outputs
    config.loss_positions = 0  # target positions whose logits are computed at a time, for large vocabularies; 0: all
    config.early_stopping = ConfigDict(
        {
            "patience": 0,  # evaluations without improvement after which training stops; 0: never
        }
    )
    config.best = ConfigDict(
        {
            "metric": "loss",  # chooses the best checkpoint: loss, perplexity, token_accuracy, exact_match, bleu, chrf
        }
    )
    config.every = ConfigDict(
        {
            "log": 50,  # steps between logged rows
            "eval": 500,  # steps between evaluations
            "save": 500,  # steps between checkpoints
            "decode": 0,  # steps between greedy translations of validation (BLEU, chrF), a multiple of eval; 0: never
        }
    )
    config.keep = 3  # number of newest checkpoints to keep, besides the best
    config.eval_examples = 0  # validation examples at each evaluation; 0: all
    config.decode_examples = 500  # validation examples that every.decode translates; 0: all
    config.cpu_devices = 1  # devices to split a CPU into; they share each batch
    config.keep_pages = True  # Linux CPUs: keep freed memory, up to 1.7 times as much, for faster steps
    config.deterministic = False  # ask the compiler for deterministic GPU kernels
    config.profile = False  # trace five steps into profile/ of the run's folder
    config.workers = 0  # processes that make batches; 0: threads
    config.tracker = ConfigDict({"name": "wandb"})  # where the run is mirrored: wandb, tensorboard, trackio
    config.wandb = ConfigDict(
        {
            "mode": "auto",  # auto (online with credentials, else offline), online, offline, disabled
            "project": "longreach",  # project in wandb
            "group": task,  # group of runs in wandb
            "name": name,  # name of this run in wandb
        }
    )
    return config


PAIRS = {
    "tokenizer": {
        "name": "unigram",  # unigram, bpe, char, byte
        "vocab_size": 8000,  # entries, with <pad>, <s>, </s> and <unk>
        "joint": True,  # one tokenizer for both languages
        "normalization": "identity",  # text as written; unigram and bpe: nfkc, nmt_nfkc, nfkc_cf, nmt_nfkc_cf
    },
    "lowercase": False,  # turn all text into lower case
    "max_length": 128,  # most tokens of a training pair's side; longer pairs are left out and counted
    "train_examples": 0,  # how many training examples to use, from the first on; 0: all
    "num_buckets": 16,  # shapes of batches: each takes seconds to compile, and fewer mean more padding
    "cache_dir": "",  # where tokenizers are cached; empty: ~/.cache/longreach
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
    config.model.num_layers = 2
    del config.batch_size
    config.tokens_per_batch = 4096  # largest batch: rows times the longer of source and target
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
