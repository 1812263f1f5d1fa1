"""The mixers by name."""

from models.mixers.convolution import Conv
from models.mixers.hierarchical_attention import HierarchicalAttention
from models.mixers.local_attention import LocalAttention
from models.mixers.mixer import Mixer
from models.mixers.softmax_attention import Attention
from models.mixers.stepped import GRU, LSTM, RNN

MIXERS: dict[str, type[Mixer]] = {
    "attention": Attention,
    "local_attention": LocalAttention,
    "hierarchical_attention": HierarchicalAttention,
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "conv": Conv,
}
