"""The recurrent layers that the tests go through, a user's cell among them."""

from fastdl import Layer, ops
from fastdl.layers import GRU, LSTM, RNN, SimpleRNN


class Minimal(Layer):
    """A user's cell: the state is mixed with the input's product, and the output is another."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units

    def get_config(self):
        return {**super().get_config(), "units": self.units}

    def build(self, shape):
        self.kernel = self.add_weight("kernel", (shape[-1], self.units))
        self.recurrent = self.add_weight("recurrent", (self.units, self.units), "orthogonal")
        self.gain = self.add_weight("gain", (self.units,), "ones")
        self.shift = self.add_weight("shift", (self.units,), "normal")

    def call(self, x, states):
        product = ops.dense(states[0], self.recurrent) + ops.dense(x, self.kernel)
        state, _, _ = ops.layernorm(ops.tanh(product), self.gain, self.shift)
        return ops.sigmoid(state) * 2.0, [state]


CELLS = {
    "SimpleRNN": lambda **k: SimpleRNN(5, **k),
    "SimpleRNN relu": lambda **k: SimpleRNN(5, "relu", use_bias=False, **k),
    "LSTM": lambda **k: LSTM(5, **k),
    "LSTM others": lambda **k: LSTM(5, "linear", "tanh", use_bias=False, **k),
    "LSTM dropout": lambda **k: LSTM(5, dropout=0.3, recurrent_dropout=0.2, **k),
    "GRU": lambda **k: GRU(5, **k),
    "GRU before": lambda **k: GRU(5, reset_after=False, **k),
    "GRU others": lambda **k: GRU(5, "linear", "tanh", use_bias=False, **k),
    "GRU dropout": lambda **k: GRU(5, dropout=0.3, recurrent_dropout=0.2, **k),
    "user's": lambda **k: RNN(Minimal(5), **k),
}
