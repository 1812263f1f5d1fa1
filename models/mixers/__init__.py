"""The mixers by name."""

from models.mixers.convolution import Conv
from models.mixers.delta_net import DeltaNet
from models.mixers.hierarchical_attention import HierarchicalAttention
from models.mixers.linear_attention import LinearAttention
from models.mixers.local_attention import LocalAttention, StridedAttention
from models.mixers.lru import LRU
from models.mixers.mamba import Mamba
from models.mixers.minimal import MinGRU, MinLSTM
from models.mixers.mixer import Mixer
from models.mixers.mlstm import MLSTM
from models.mixers.softmax_attention import Attention
from models.mixers.stepped import GRU, LSTM, RNN

MIXERS: dict[str, type[Mixer]] = {
    "attention": Attention,
    "local_attention": LocalAttention,
    "strided_attention": StridedAttention,
    "hierarchical_attention": HierarchicalAttention,
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "conv": Conv,
    "min_gru": MinGRU,
    "min_lstm": MinLSTM,
    "lru": LRU,
    "linear_attention": LinearAttention,
    "delta_net": DeltaNet,
    "mamba": Mamba,
    "mlstm": MLSTM,
}
