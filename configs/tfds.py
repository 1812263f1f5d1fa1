"""Any TFDS translation or text data set, by name, without TensorFlow.

    python train.py --config=configs/tfds.py:transformer --workdir=runs/ted \
        --config.data.name=ted_hrlr_translate/pt_to_en
    ... --config.data.name=wmt14_translate/de-en    4.5 million pairs
    python train.py --config=configs/tfds.py:transformer_decoder --workdir=runs/lm1b --config.data.name=lm1b

A data set that cannot be prepared here is prepared elsewhere, and --config.data.dir points at it.
"""

from configs import common

DATA = {
    "name": "ted_hrlr_translate/pt_to_en",  # of the data set, with its config
    "dir": "",  # where TFDS keeps data sets, or the folder of one; empty: TFDS's own place
    "source_language": "",  # translation; empty: the data set's own direction
    "target_language": "",  # the same
    "feature": "text",  # of a text data set
    "length": 256,  # text: tokens of a window
}


def get_config(model):
    config = common.translation("tfds", model, DATA)
    config.steps = 20_000
    return config
