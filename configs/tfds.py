"""Any TFDS translation or text data set, by name, without TensorFlow.

    python train.py --config=configs/tfds.py:transformer --workdir=runs/ted \\
        --config.data.name=ted_hrlr_translate/pt_to_en
    ... --config.data.name=wmt14_translate/de-en    4.5 million pairs
    python train.py --config=configs/tfds.py:transformer_decoder --workdir=runs/lm1b --config.data.name=lm1b

A data set that cannot be prepared here is prepared elsewhere, and --config.data.dir points at it.

Expected: it depends on the data set; none has been trained on here.
"""

from configs import common

DATA = {
    "name": "ted_hrlr_translate/pt_to_en",  # the data set and its config
    "dir": "",  # folder of TFDS's data sets, or of this one; empty: TFDS's default
    "source_language": "",  # for translation; empty: the data set's own direction
    "target_language": "",  # the same
    "feature": "text",  # which field holds the text, for a text data set
    "length": 256,  # tokens of a window, for a text data set
}


def get_config(model):
    config = common.translation("tfds", model, DATA)
    config.steps = 20_000
    return config
