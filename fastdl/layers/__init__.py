"""The layers, with Keras's names and defaults."""

from fastdl.layers.activation import (
    ELU,
    GELU,
    SELU,
    Activation,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from fastdl.layers.attention import Attention, MultiHeadAttention
from fastdl.layers.augmentation import (
    Augmentation,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
)
from fastdl.layers.base import Layer
from fastdl.layers.cells import GRUCell, LSTMCell, SimpleRNNCell
from fastdl.layers.convolution import (
    Conv1D,
    Conv2D,
    Conv2DTranspose,
)
from fastdl.layers.convolutional_recurrent import ConvLSTM2D
from fastdl.layers.dense import Dense
from fastdl.layers.depthwise import DepthwiseConv2D, SeparableConv2D
from fastdl.layers.dropout import Dropout, GaussianNoise, SpatialDropout1D, SpatialDropout2D
from fastdl.layers.embedding import Embedding, PositionalEncoding
from fastdl.layers.input import Input, InputLayer
from fastdl.layers.merge import Add, Concatenate, Multiply
from fastdl.layers.norm import BatchNormalization, LayerNormalization
from fastdl.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPooling1D,
    MaxPooling2D,
)
from fastdl.layers.recurrent import GRU, LSTM, RNN, SimpleRNN
from fastdl.layers.resizing import (
    Cropping1D,
    Cropping2D,
    UpSampling1D,
    UpSampling2D,
    ZeroPadding1D,
    ZeroPadding2D,
)
from fastdl.layers.shape import Flatten, Permute, RepeatVector, Reshape
from fastdl.layers.wrappers import Bidirectional, Masking, TimeDistributed

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "Activation",
    "Add",
    "Attention",
    "Augmentation",
    "AveragePooling1D",
    "AveragePooling2D",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "ConvLSTM2D",
    "Cropping1D",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "Input",
    "InputLayer",
    "LSTMCell",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "MaxPooling1D",
    "MaxPooling2D",
    "MultiHeadAttention",
    "Multiply",
    "Permute",
    "PositionalEncoding",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "RepeatVector",
    "Reshape",
    "SeparableConv2D",
    "SiLU",
    "Sigmoid",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "Softplus",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "Tanh",
    "TimeDistributed",
    "UpSampling1D",
    "UpSampling2D",
    "ZeroPadding1D",
    "ZeroPadding2D",
]
