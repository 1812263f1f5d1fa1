"""Traces every architecture with its annotated shapes checked; run by test_shapes.py in a process of its own.

The hook must come before `models` is imported, and would slow every other test down if it were theirs.
"""

import sys
from typing import Any

from beartype import beartype
from jaxtyping import install_import_hook


def check_shapes(function):
    """Checks the arguments and results that jaxtyping annotates, and no others."""
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if "jaxtyping" in repr(hint)}
    return beartype(function)


def main() -> None:
    install_import_hook("models", f"{__name__}.check_shapes")
    import jax
    import jax.numpy as jnp

    import models
    from data.spec import Spec
    from models import decoding
    from models.mixers import MIXERS

    B, S, V = 2, 5, 11
    failures = []
    for name, architecture in models.MODELS.items():
        if getattr(architecture, "pattern", ()):
            continue  # `decoder` has a layer of each mixer
        sources: Any = ("none", "features", "tokens")[architecture.needs_source :]
        if not architecture.takes_source:
            sources = ("none",)
        for source in sources:
            whole = source == "tokens"  # what follows the source's embedding is the same for the others
            size = {"tokens": V, "features": 3, "none": 0}[source]
            length = 0 if source == "none" else S
            layout: Any = architecture.layouts[0]
            T = S if layout == "aligned" else 4
            spec = Spec(source, size, V, "tokens", V, length, T, layout=layout)
            config = models.configured(name)
            models.set_width(config, 8)
            config.num_layers = 1
            if "mixers" in config and whole:
                config.mixers, config.num_layers = ",".join(MIXERS), len(MIXERS)
            if "encoder_mixers" in config and whole:
                config.encoder_mixers, config.num_layers = "gru,attention", 2
            shape, kind = ((B, length, size), "float32") if source == "features" else ((B, length), "int32")
            arrays = jax.ShapeDtypeStruct(shape, kind), jax.ShapeDtypeStruct((B, length), bool)
            target_in = jax.ShapeDtypeStruct((B, T), "int32")

            def everything(
                arrays, target_in, name=name, decodes=whole and architecture.decodes, config=config, spec=spec
            ):
                model = models.build(name, config, spec, jax.random.key(0))
                taps = dict.fromkeys(model.tap_names())
                output = model(arrays[0], arrays[1], target_in, key=jax.random.key(1), taps=taps)
                assert output.logits.shape == (*target_in.shape, V)
                if not decodes:
                    return output.logits
                wanted = decoding.Wanted(bos=1, eos=2, pad=0, max_len=3, prefix=target_in[:, :2])
                tokens = [
                    method(model, arrays[0], arrays[1], wanted).tokens
                    for method in (decoding.greedy, decoding.beam_search)
                ]
                return output.logits, jnp.stack(tokens)

            try:
                jax.eval_shape(everything, arrays, target_in)
            except Exception as error:
                failures.append(f"{name} with source {source}: {type(error).__name__}: {error}"[:1500])
    sys.exit("\n\n".join(failures) if failures else 0)


if __name__ == "__main__":
    main()
