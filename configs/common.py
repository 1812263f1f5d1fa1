"""What every config shares: the run's keys, and the model's keys by architecture.

A config file starts from `base(task, model)`, then sets what its task needs. Values only.
"""

import difflib

from ml_collections import ConfigDict

FAMILIES = {
    "rnn": "encoder_decoder",
    "lstm": "encoder_decoder",
    "gru": "encoder_decoder",
    "rnn_attention": "encoder_decoder",
    "lstm_attention": "encoder_decoder",
    "gru_attention": "encoder_decoder",
    "rnn_decoder": "recurrent_decoder",
    "lstm_decoder": "recurrent_decoder",
    "gru_decoder": "recurrent_decoder",
    "transformer": "transformer",
    "transformer_decoder": "transformer",
}


def base(task: str, name: str) -> ConfigDict:
    """The keys of every run, with defaults that train; `name` is an architecture."""
    config = ConfigDict()
    config.task = task
    config.seed = 0
    config.steps = 2000
    config.batch_size = 64  # examples; text tasks have tokens_per_batch instead
    config.model = model(name)
    config.data = ConfigDict()
    config.optimizer = ConfigDict(
        {
            "name": "adam",  # adam, adamw, sgd, adafactor
            "learning_rate": 1e-3,
            "b1": 0.9,
            "b2": 0.98,
            "eps": 1e-9,
            "weight_decay": 0.0,
            "momentum": 0.9,
            "clip_norm": 1.0,  # global norm; 0 for none
            "accumulation": 1,  # micro-batches a step
            "ema_decay": 0.0,  # 0 for none
        }
    )
    config.schedule = ConfigDict(
        {
            "name": "cosine",  # inverse_square_root, cosine, linear, constant
            "warmup_steps": 100,
            "final_fraction": 0.0,  # of the peak, where cosine and linear end
        }
    )
    config.label_smoothing = 0.0
    config.loss_positions = 0  # target positions whose logits exist at once, for large vocabularies; 0: all
    config.early_stopping = ConfigDict({"patience": 0})  # evaluations without a better best; 0: never
    config.best = ConfigDict({"metric": "loss"})  # loss (lowest), token_accuracy or exact_match (highest)
    config.every = ConfigDict({"log": 50, "eval": 500, "save": 500})
    config.keep = 3  # newest checkpoints kept, beside the best
    config.eval_examples = 0  # of the validation split at each evaluation; 0 for all
    config.cpu_devices = 1  # devices that a CPU is split into; a batch is shared out between them
    config.keep_pages = False  # Linux CPUs: freed memory stays with the process; faster for large models, not for small
    config.deterministic = False  # ask the compiler for deterministic GPU kernels
    config.profile = False  # trace a few steps into RUN/profile
    config.workers = 0  # processes that make batches; 0: threads
    config.wandb = ConfigDict({"mode": "auto", "project": "longreach", "group": task, "name": name})
    return config


def model(name: str) -> ConfigDict:
    """The model's keys, by family. Raises ValueError for a name that is no architecture."""
    if name not in FAMILIES:
        near = difflib.get_close_matches(str(name), FAMILIES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"model = {name!r} is not an architecture; {hint}choose from {', '.join(FAMILIES)}")
    values = {"name": name, "hidden_size": 128, "num_layers": 2, "dropout_rate": 0.0, "tie_embeddings": True}
    values["remat"] = False  # compute activations anew in the backward pass: a third more time, for long sequences
    values["dtype"] = "float32"  # of the computation, float32 or bfloat16; parameters are float32
    if FAMILIES[name] == "transformer":
        values |= {
            "num_heads": 4,
            "mlp_dim": 512,
            "attention_dropout_rate": 0.0,
            "fused_attention": "auto",  # auto (cuDNN's kernel where it can run), never, cudnn, xla
            "positions": "sinusoidal",  # none, sinusoidal, learned, rotary, alibi
            "norm": "pre",  # pre or post
            "activation": "relu",  # relu or gelu
        }
    elif FAMILIES[name] in ("encoder_decoder", "recurrent_decoder"):
        values |= {
            "embed_size": 128,
            "recurrent_scale": 1.0,  # gain of the orthogonal recurrent initialisation
            "input_dropout_rate": 0.0,  # on embeddings
            "output_dropout_rate": 0.0,  # on what the output layer reads
            "variational_dropout": False,  # one draw for all steps of a sequence, instead of one a step
        }
        if name.startswith("lstm"):
            values |= {"forget_bias": 1.0, "chrono_length": 0}  # longest dependency for chrono; 0: off
            values["backend"] = "scan"  # or cudnn: a layer in one call, on an NVIDIA GPU, in float32
    if FAMILIES[name] == "encoder_decoder":
        values |= {"bidirectional": False, "reverse_source": False}
        if name.endswith("_attention"):
            values["attention"] = {
                "score": "additive",  # additive, dot, general, concat, scaled_dot
                "size": 128,  # width of the additive and concat scores
                "input_feeding": True,  # feed the last attentional output to the next step
            }
        else:
            values["context"] = "start"  # the fixed vector is given at the start, or at every_step
    return ConfigDict(values)


def setting(argument: str, settings: dict[str, dict]) -> tuple[str, dict]:
    """Splits a config's argument, `model` or `model,setting`, into the model and the setting's values.

    The first setting is the default. Raises ValueError for a name that is no setting.
    """
    name, _, chosen = argument.partition(",")
    chosen = chosen or next(iter(settings))
    if chosen not in settings:
        near = difflib.get_close_matches(chosen, settings, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"setting = {chosen!r} is not known; {hint}choose from {', '.join(settings)}")
    return name, settings[chosen]


def set_width(model: ConfigDict, width: int) -> None:
    """Gives every layer of the model one width, and the feed-forward layers four times as much."""
    model.hidden_size = width
    if "embed_size" in model:
        model.embed_size = width
    if "attention" in model:
        model.attention.size = width
    if "mlp_dim" in model:
        model.mlp_dim = 4 * width
