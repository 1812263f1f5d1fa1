"""Translation of your own text: any pair of parallel files, plain or .gz, UTF-8, one example a line.

    python train.py --config=configs/translate.py:transformer --workdir=runs/mine --config.data.dir=FOLDER \\
        --config.data.source_language=cs --config.data.target_language=en

FOLDER holds train.cs, train.en, val.cs, val.en and, if you like, more pairs such as test.cs, test.en.
Files with other names are given one by one: --config.data.train_source=FILE --config.data.train_target=FILE ...

Expected: it depends on the text; configs/multi30k.py says what 29,000 short pairs give.
"""

from configs import common

DATA = {
    "dir": "",  # folder of the files
    "source_language": "de",  # language, which is the ending of its files
    "target_language": "en",  # language, which is the ending of its files
    "train_source": "",  # a file of its own, instead of one in dir
    "train_target": "",  # a file of its own, instead of one in dir
    "val_source": "",  # a file of its own, instead of one in dir
    "val_target": "",  # a file of its own, instead of one in dir
    "test_source": "",  # a file of its own, instead of one in dir
    "test_target": "",  # a file of its own, instead of one in dir
}


def get_config(model):
    config = common.translation("translate", model, DATA)
    config.steps = 10_000
    return config
