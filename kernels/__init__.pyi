"""By ``python -m fastdl.kernels.describe``; a test holds it against the table."""

from typing import Any

from numpy import ndarray

from fastdl.kernels.table import OPS as OPS

dispatch: Any
runner: Any

def get_include() -> str: ...
def matmul(
    a: Any, b: Any, transpose_a: bool = ..., transpose_b: bool = ..., out: Any = ...
) -> ndarray: ...
def relu_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def relu_backward(
    grad_out: Any,
    out: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def leaky_relu_forward(
    x: Any,
    *,
    alpha: float = ...,
    out: Any = ...,
) -> ndarray: ...
def leaky_relu_backward(
    grad_out: Any,
    x: Any,
    *,
    alpha: float = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def elu_forward(
    x: Any,
    *,
    alpha: float = ...,
    out: Any = ...,
) -> ndarray: ...
def elu_backward(
    grad_out: Any,
    x: Any,
    *,
    alpha: float = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def selu_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def selu_backward(
    grad_out: Any,
    out: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def gelu_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def gelu_backward(
    grad_out: Any,
    x: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def gelu_tanh_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def gelu_tanh_backward(
    grad_out: Any,
    x: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def sigmoid_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def sigmoid_backward(
    grad_out: Any,
    out: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def tanh_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def tanh_backward(
    grad_out: Any,
    out: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def softplus_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def softplus_backward(
    grad_out: Any,
    x: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def silu_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def silu_backward(
    grad_out: Any,
    x: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def softmax_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def softmax_backward(
    grad_out: Any,
    out: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def add(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def multiply(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def multiply_backward(
    grad_out: Any,
    a: Any,
    b: Any,
    *,
    grad_a: Any = ...,
    grad_b: Any = ...,
) -> tuple[ndarray, ...]: ...
def scale(
    x: Any,
    *,
    factor: float = ...,
    out: Any = ...,
) -> ndarray: ...
def scale_backward(
    grad_out: Any,
    *,
    factor: float = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def concatenate(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def concatenate_backward(
    grad_out: Any,
    *,
    grad_a: Any = ...,
    grad_b: Any = ...,
) -> tuple[ndarray, ...]: ...
def split_forward(
    x: Any,
    *,
    a: Any = ...,
    b: Any = ...,
) -> tuple[ndarray, ...]: ...
def split_backward(
    grad_a: Any,
    grad_b: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def attention_forward(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = ...,
    key_mask: Any = ...,
    *,
    scale: float = ...,
    causal: bool = ...,
    rate: float = ...,
    stream: int = ...,
    step: int = ...,
    seed: int = ...,
    out: Any = ...,
    lse: Any = ...,
) -> tuple[ndarray, ...]: ...
def attention_backward(
    grad_out: Any,
    q: Any,
    k: Any,
    v: Any,
    out: Any,
    lse: Any,
    *,
    mask: Any = ...,
    key_mask: Any = ...,
    scale: float = ...,
    causal: bool = ...,
    rate: float = ...,
    stream: int = ...,
    step: int = ...,
    seed: int = ...,
    grad_q: Any = ...,
    grad_k: Any = ...,
    grad_v: Any = ...,
) -> tuple[ndarray, ...]: ...
def conv2d_forward(
    x: Any,
    weight: Any,
    bias: Any = ...,
    *,
    stride_height: int = ...,
    stride_width: int = ...,
    dilation_height: int = ...,
    dilation_width: int = ...,
    top: int = ...,
    bottom: int = ...,
    left: int = ...,
    right: int = ...,
    groups: int = ...,
    activation: str = ...,
    out: Any = ...,
) -> ndarray: ...
def conv2d_statistics_forward(
    x: Any,
    weight: Any,
    bias: Any = ...,
    *,
    stride_height: int = ...,
    stride_width: int = ...,
    dilation_height: int = ...,
    dilation_width: int = ...,
    top: int = ...,
    bottom: int = ...,
    left: int = ...,
    right: int = ...,
    groups: int = ...,
    out: Any = ...,
    mean: Any = ...,
    variance: Any = ...,
) -> tuple[ndarray, ...]: ...
def conv2d_backward_input(
    grad_out: Any,
    weight: Any,
    *,
    stride_height: int = ...,
    stride_width: int = ...,
    dilation_height: int = ...,
    dilation_width: int = ...,
    top: int = ...,
    bottom: int = ...,
    left: int = ...,
    right: int = ...,
    groups: int = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def conv2d_backward_weight(
    x: Any,
    grad_out: Any,
    *,
    stride_height: int = ...,
    stride_width: int = ...,
    dilation_height: int = ...,
    dilation_width: int = ...,
    top: int = ...,
    bottom: int = ...,
    left: int = ...,
    right: int = ...,
    groups: int = ...,
    grad_weight: Any = ...,
) -> ndarray: ...
def conv2d_transpose_forward(
    x: Any,
    weight: Any,
    bias: Any = ...,
    *,
    stride_height: int = ...,
    stride_width: int = ...,
    dilation_height: int = ...,
    dilation_width: int = ...,
    top: int = ...,
    bottom: int = ...,
    left: int = ...,
    right: int = ...,
    groups: int = ...,
    activation: str = ...,
    out: Any = ...,
) -> ndarray: ...
def conv2d_transpose_backward_input(
    grad_out: Any,
    weight: Any,
    *,
    stride_height: int = ...,
    stride_width: int = ...,
    dilation_height: int = ...,
    dilation_width: int = ...,
    top: int = ...,
    bottom: int = ...,
    left: int = ...,
    right: int = ...,
    groups: int = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def conv2d_transpose_backward_weight(
    x: Any,
    grad_out: Any,
    *,
    stride_height: int = ...,
    stride_width: int = ...,
    dilation_height: int = ...,
    dilation_width: int = ...,
    top: int = ...,
    bottom: int = ...,
    left: int = ...,
    right: int = ...,
    groups: int = ...,
    grad_weight: Any = ...,
) -> ndarray: ...
def pad_forward(
    x: Any,
    *,
    before: int = ...,
    after: int = ...,
    out: Any = ...,
) -> ndarray: ...
def pad_backward(
    grad_out: Any,
    *,
    before: int = ...,
    after: int = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def interpolate_forward(
    x: Any,
    *,
    size: int,
    out: Any = ...,
) -> ndarray: ...
def interpolate_backward(
    grad_out: Any,
    *,
    size: int,
    grad_x: Any = ...,
) -> ndarray: ...
def mean_squared_error(
    pred: Any,
    target: Any,
    sample_weight: Any = ...,
    *,
    scale: float = ...,
    loss: Any = ...,
    grad_pred: Any = ...,
) -> tuple[ndarray, ...]: ...
def mean_squared_error_backward(
    grad_loss: Any,
    pred: Any,
    target: Any,
    *,
    grad_pred: Any = ...,
) -> ndarray: ...
def mean_absolute_error(
    pred: Any,
    target: Any,
    sample_weight: Any = ...,
    *,
    scale: float = ...,
    loss: Any = ...,
    grad_pred: Any = ...,
) -> tuple[ndarray, ...]: ...
def mean_absolute_error_backward(
    grad_loss: Any,
    pred: Any,
    target: Any,
    *,
    grad_pred: Any = ...,
) -> ndarray: ...
def huber(
    pred: Any,
    target: Any,
    sample_weight: Any = ...,
    *,
    delta: float = ...,
    scale: float = ...,
    loss: Any = ...,
    grad_pred: Any = ...,
) -> tuple[ndarray, ...]: ...
def huber_backward(
    grad_loss: Any,
    pred: Any,
    target: Any,
    *,
    delta: float = ...,
    grad_pred: Any = ...,
) -> ndarray: ...
def binary_crossentropy(
    pred: Any,
    target: Any,
    sample_weight: Any = ...,
    *,
    from_logits: bool = ...,
    label_smoothing: float = ...,
    scale: float = ...,
    loss: Any = ...,
    grad_pred: Any = ...,
) -> tuple[ndarray, ...]: ...
def binary_crossentropy_backward(
    grad_loss: Any,
    pred: Any,
    target: Any,
    *,
    from_logits: bool = ...,
    label_smoothing: float = ...,
    grad_pred: Any = ...,
) -> ndarray: ...
def categorical_crossentropy(
    pred: Any,
    target: Any,
    sample_weight: Any = ...,
    *,
    from_logits: bool = ...,
    label_smoothing: float = ...,
    scale: float = ...,
    loss: Any = ...,
    grad_pred: Any = ...,
) -> tuple[ndarray, ...]: ...
def categorical_crossentropy_backward(
    grad_loss: Any,
    pred: Any,
    target: Any,
    *,
    from_logits: bool = ...,
    label_smoothing: float = ...,
    grad_pred: Any = ...,
) -> ndarray: ...
def sparse_categorical_crossentropy(
    pred: Any,
    labels: Any,
    sample_weight: Any = ...,
    *,
    from_logits: bool = ...,
    label_smoothing: float = ...,
    scale: float = ...,
    loss: Any = ...,
    grad_pred: Any = ...,
) -> tuple[ndarray, ...]: ...
def sparse_categorical_crossentropy_backward(
    grad_loss: Any,
    pred: Any,
    labels: Any,
    *,
    from_logits: bool = ...,
    label_smoothing: float = ...,
    grad_pred: Any = ...,
) -> ndarray: ...
def categorical_accuracy(
    pred: Any,
    target: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def sparse_categorical_accuracy(
    pred: Any,
    labels: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def binary_accuracy(
    pred: Any,
    target: Any,
    *,
    threshold: float = ...,
    out: Any = ...,
) -> ndarray: ...
def batch_mean(
    values: Any,
    sample_weight: Any = ...,
    *,
    out: Any = ...,
) -> ndarray: ...
def batch_mean_backward(
    grad_out: Any,
    values: Any,
    sample_weight: Any = ...,
    *,
    grad_values: Any = ...,
) -> ndarray: ...
def accumulate(
    total: Any,
    values: Any,
    sample_weight: Any = ...,
    *,
    by_weight: bool = ...,
) -> None: ...
def penalty(
    total: Any,
    param: Any,
    values: Any,
    *,
    l1: float = ...,
    l2: float = ...,
) -> None: ...
def top_k_categorical_accuracy(
    pred: Any,
    target: Any,
    *,
    k: int = ...,
    out: Any = ...,
) -> ndarray: ...
def sparse_top_k_categorical_accuracy(
    pred: Any,
    labels: Any,
    *,
    k: int = ...,
    out: Any = ...,
) -> ndarray: ...
def cosine_similarity(
    pred: Any,
    target: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def confusion_update(
    confusion: Any,
    pred: Any,
    labels: Any,
    sample_weight: Any = ...,
) -> None: ...
def categorical_confusion_update(
    confusion: Any,
    pred: Any,
    target: Any,
    sample_weight: Any = ...,
) -> None: ...
def threshold_counts_update(
    counts: Any,
    pred: Any,
    target: Any,
    sample_weight: Any = ...,
    *,
    threshold: float = ...,
) -> None: ...
def sparse_threshold_counts_update(
    counts: Any,
    pred: Any,
    labels: Any,
    sample_weight: Any = ...,
    *,
    threshold: float = ...,
) -> None: ...
def argmax_counts_update(
    counts: Any,
    pred: Any,
    target: Any,
    sample_weight: Any = ...,
) -> None: ...
def sparse_argmax_counts_update(
    counts: Any,
    pred: Any,
    labels: Any,
    sample_weight: Any = ...,
) -> None: ...
def r2_update(
    moments: Any,
    pred: Any,
    target: Any,
    sample_weight: Any = ...,
) -> None: ...
def batchnorm_statistics(
    x: Any,
    *,
    mean: Any = ...,
    variance: Any = ...,
) -> tuple[ndarray, ...]: ...
def batchnorm_forward(
    x: Any,
    mean: Any,
    variance: Any,
    gamma: Any = ...,
    beta: Any = ...,
    *,
    epsilon: float = ...,
    out: Any = ...,
) -> ndarray: ...
def batchnorm_backward(
    grad_out: Any,
    x: Any,
    mean: Any,
    variance: Any,
    gamma: Any = ...,
    *,
    epsilon: float = ...,
    grad_x: Any = ...,
    grad_gamma: Any = ...,
    grad_beta: Any = ...,
) -> tuple[ndarray, ...]: ...
def batchnorm_inference(
    x: Any,
    mean: Any,
    variance: Any,
    gamma: Any = ...,
    beta: Any = ...,
    *,
    epsilon: float = ...,
    out: Any = ...,
) -> ndarray: ...
def batchnorm_inference_backward(
    grad_out: Any,
    x: Any,
    mean: Any,
    variance: Any,
    gamma: Any = ...,
    *,
    epsilon: float = ...,
    grad_x: Any = ...,
    grad_gamma: Any = ...,
    grad_beta: Any = ...,
) -> tuple[ndarray, ...]: ...
def batchnorm_update(
    running_mean: Any,
    running_variance: Any,
    mean: Any,
    variance: Any,
    x: Any,
    *,
    momentum: float = ...,
    unbiased: bool = ...,
) -> None: ...
def layernorm_forward(
    x: Any,
    gamma: Any = ...,
    beta: Any = ...,
    *,
    epsilon: float = ...,
    out: Any = ...,
    mean: Any = ...,
    rstd: Any = ...,
) -> tuple[ndarray, ...]: ...
def layernorm_backward(
    grad_out: Any,
    x: Any,
    mean: Any,
    rstd: Any,
    gamma: Any = ...,
    *,
    grad_x: Any = ...,
    grad_gamma: Any = ...,
    grad_beta: Any = ...,
) -> tuple[ndarray, ...]: ...
def max_pool_forward(
    x: Any,
    *,
    pool_height: int,
    pool_width: int,
    stride_height: int,
    stride_width: int,
    padding: str = ...,
    out: Any = ...,
    index: Any = ...,
) -> tuple[ndarray, ...]: ...
def max_pool_backward(
    grad_out: Any,
    index: Any,
    *,
    pool_height: int,
    pool_width: int,
    stride_height: int,
    stride_width: int,
    padding: str = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def average_pool_forward(
    x: Any,
    *,
    pool_height: int,
    pool_width: int,
    stride_height: int,
    stride_width: int,
    padding: str = ...,
    out: Any = ...,
) -> ndarray: ...
def average_pool_backward(
    grad_out: Any,
    *,
    pool_height: int,
    pool_width: int,
    stride_height: int,
    stride_width: int,
    padding: str = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def batchnorm_max_pool_forward(
    x: Any,
    mean: Any,
    variance: Any,
    gamma: Any = ...,
    beta: Any = ...,
    *,
    pool_height: int,
    pool_width: int,
    stride_height: int,
    stride_width: int,
    padding: str = ...,
    epsilon: float = ...,
    out: Any = ...,
    picked: Any = ...,
    index: Any = ...,
) -> tuple[ndarray, ...]: ...
def batchnorm_max_pool_backward(
    grad_out: Any,
    picked: Any,
    index: Any,
    x: Any,
    mean: Any,
    variance: Any,
    gamma: Any = ...,
    *,
    pool_height: int,
    pool_width: int,
    stride_height: int,
    stride_width: int,
    padding: str = ...,
    epsilon: float = ...,
    grad_x: Any = ...,
    grad_gamma: Any = ...,
    grad_beta: Any = ...,
) -> tuple[ndarray, ...]: ...
def matmul_nn(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def matmul_tn(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def matmul_nt(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def dense_forward(
    x: Any,
    weight: Any,
    bias: Any = ...,
    *,
    activation: str = ...,
    out: Any = ...,
) -> ndarray: ...
def dense_backward_input(
    grad_out: Any,
    weight: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def dense_backward_weight(
    x: Any,
    grad_out: Any,
    *,
    grad_weight: Any = ...,
) -> ndarray: ...
def dense_backward_bias(
    grad_out: Any,
    *,
    grad_bias: Any = ...,
) -> ndarray: ...
def dropout_forward(
    x: Any,
    *,
    rate: float,
    stream: int = ...,
    step: int = ...,
    seed: int = ...,
    out: Any = ...,
) -> ndarray: ...
def dropout_backward(
    grad_out: Any,
    *,
    rate: float,
    stream: int = ...,
    step: int = ...,
    seed: int = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def gaussian_noise_forward(
    x: Any,
    *,
    stddev: float,
    stream: int = ...,
    step: int = ...,
    seed: int = ...,
    out: Any = ...,
) -> ndarray: ...
def augment(
    x: Any,
    *,
    horizontal: bool = ...,
    vertical: bool = ...,
    height_shift: float = ...,
    width_shift: float = ...,
    rotation: float = ...,
    zoom: float = ...,
    fill: str = ...,
    stream: int = ...,
    step: int = ...,
    seed: int = ...,
    out: Any = ...,
) -> ndarray: ...
def to_time_major_forward(
    x: Any,
    *,
    reverse: bool = ...,
    out: Any = ...,
) -> ndarray: ...
def to_time_major_backward(
    grad_out: Any,
    *,
    reverse: bool = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def from_time_major_forward(
    x: Any,
    *,
    reverse: bool = ...,
    out: Any = ...,
) -> ndarray: ...
def from_time_major_backward(
    grad_out: Any,
    *,
    reverse: bool = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def fill(
    *,
    value: float = ...,
    out: Any = ...,
) -> ndarray: ...
def assign(
    target: Any,
    x: Any,
) -> None: ...
def row_mask(
    x: Any,
    *,
    value: float = ...,
    out: Any = ...,
) -> ndarray: ...
def choose_rows_forward(
    x: Any,
    mask: Any,
    *,
    other: Any = ...,
    out: Any = ...,
) -> ndarray: ...
def choose_rows_backward(
    grad_out: Any,
    mask: Any,
    *,
    grad_x: Any = ...,
    grad_other: Any = ...,
) -> tuple[ndarray, ...]: ...
def lstm_step_forward(
    x: Any,
    carry: Any,
    *,
    activation: str = ...,
    recurrent_activation: str = ...,
    out: Any = ...,
    carry_out: Any = ...,
    gates: Any = ...,
    squashed: Any = ...,
) -> tuple[ndarray, ...]: ...
def lstm_step_backward(
    gates: Any,
    squashed: Any,
    carry: Any,
    *,
    grad_out: Any = ...,
    grad_carry_out: Any = ...,
    activation: str = ...,
    recurrent_activation: str = ...,
    grad_carry: Any = ...,
    grad_x: Any = ...,
) -> tuple[ndarray, ...]: ...
def gru_step_forward(
    x: Any,
    recurrent: Any,
    state: Any,
    *,
    activation: str = ...,
    recurrent_activation: str = ...,
    out: Any = ...,
    gates: Any = ...,
) -> tuple[ndarray, ...]: ...
def gru_step_backward(
    grad_out: Any,
    gates: Any,
    recurrent: Any,
    state: Any,
    *,
    activation: str = ...,
    recurrent_activation: str = ...,
    grad_state: Any = ...,
    grad_x: Any = ...,
    grad_recurrent: Any = ...,
) -> tuple[ndarray, ...]: ...
def exp_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def exp_backward(
    grad_out: Any,
    out: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def log_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def log_backward(
    grad_out: Any,
    x: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def sqrt_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def sqrt_backward(
    grad_out: Any,
    out: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def square_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def square_backward(
    grad_out: Any,
    x: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def abs_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def abs_backward(
    grad_out: Any,
    x: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def sign(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def clip_forward(
    x: Any,
    *,
    low: float,
    high: float,
    out: Any = ...,
) -> ndarray: ...
def clip_backward(
    grad_out: Any,
    x: Any,
    *,
    low: float,
    high: float,
    grad_x: Any = ...,
) -> ndarray: ...
def subtract(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def subtract_backward(
    grad_out: Any,
    a: Any,
    b: Any,
    *,
    grad_a: Any = ...,
    grad_b: Any = ...,
) -> tuple[ndarray, ...]: ...
def divide(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def divide_backward(
    grad_out: Any,
    a: Any,
    b: Any,
    *,
    grad_a: Any = ...,
    grad_b: Any = ...,
) -> tuple[ndarray, ...]: ...
def power(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def power_backward(
    grad_out: Any,
    a: Any,
    b: Any,
    *,
    grad_a: Any = ...,
    grad_b: Any = ...,
) -> tuple[ndarray, ...]: ...
def maximum(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def maximum_backward(
    grad_out: Any,
    a: Any,
    b: Any,
    *,
    grad_a: Any = ...,
    grad_b: Any = ...,
) -> tuple[ndarray, ...]: ...
def minimum(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def minimum_backward(
    grad_out: Any,
    a: Any,
    b: Any,
    *,
    grad_a: Any = ...,
    grad_b: Any = ...,
) -> tuple[ndarray, ...]: ...
def less(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def less_equal(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def equal(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def not_equal(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def where_forward(
    condition: Any,
    a: Any = ...,
    b: Any = ...,
    *,
    a_value: float = ...,
    b_value: float = ...,
    out: Any = ...,
) -> ndarray: ...
def where_backward(
    grad_out: Any,
    condition: Any,
    *,
    grad_a: Any = ...,
    grad_b: Any = ...,
) -> tuple[ndarray, ...]: ...
def scalar_forward(
    x: Any,
    *,
    value: float,
    function: str = ...,
    swapped: bool = ...,
    out: Any = ...,
) -> ndarray: ...
def scalar_backward(
    grad_out: Any,
    x: Any,
    *,
    value: float,
    function: str = ...,
    swapped: bool = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def scalar_compare(
    x: Any,
    *,
    value: float,
    function: str = ...,
    swapped: bool = ...,
    out: Any = ...,
) -> ndarray: ...
def vector_forward(
    x: Any,
    y: Any,
    *,
    function: str = ...,
    swapped: bool = ...,
    out: Any = ...,
) -> ndarray: ...
def vector_backward(
    grad_out: Any,
    x: Any,
    y: Any,
    *,
    function: str = ...,
    swapped: bool = ...,
    grad_x: Any = ...,
    grad_y: Any = ...,
) -> tuple[ndarray, ...]: ...
def vector_compare(
    x: Any,
    y: Any,
    *,
    function: str = ...,
    swapped: bool = ...,
    out: Any = ...,
) -> ndarray: ...
def middle_forward(
    x: Any,
    y: Any,
    *,
    function: str = ...,
    swapped: bool = ...,
    out: Any = ...,
) -> ndarray: ...
def middle_backward(
    grad_out: Any,
    x: Any,
    y: Any,
    *,
    function: str = ...,
    swapped: bool = ...,
    grad_x: Any = ...,
    grad_y: Any = ...,
) -> tuple[ndarray, ...]: ...
def middle_compare(
    x: Any,
    y: Any,
    *,
    function: str = ...,
    swapped: bool = ...,
    out: Any = ...,
) -> ndarray: ...
def sum_forward(
    x: Any,
    *,
    mean: bool = ...,
    out: Any = ...,
) -> ndarray: ...
def sum_backward(
    grad_out: Any,
    *,
    mean: bool = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def sum_rows_forward(
    x: Any,
    *,
    mean: bool = ...,
    out: Any = ...,
) -> ndarray: ...
def sum_rows_backward(
    grad_out: Any,
    *,
    mean: bool = ...,
    grad_x: Any = ...,
) -> ndarray: ...
def max_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def max_backward(
    grad_out: Any,
    x: Any,
    out: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def min_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def min_backward(
    grad_out: Any,
    x: Any,
    out: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def broadcast_forward(
    x: Any,
    *,
    repeats: int,
    out: Any = ...,
) -> ndarray: ...
def broadcast_backward(
    grad_out: Any,
    *,
    repeats: int,
    grad_x: Any = ...,
) -> ndarray: ...
def broadcast_rows_forward(
    x: Any,
    like: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def broadcast_rows_backward(
    grad_out: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def transpose_forward(
    x: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def transpose_backward(
    grad_out: Any,
    *,
    grad_x: Any = ...,
) -> ndarray: ...
def slice_forward(
    x: Any,
    *,
    start: int = ...,
    stride: int = ...,
    length: int,
    out: Any = ...,
) -> ndarray: ...
def slice_backward(
    grad_out: Any,
    *,
    start: int = ...,
    stride: int = ...,
    length: int,
    grad_x: Any = ...,
) -> ndarray: ...
def take_forward(
    labels: Any,
    weight: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def take_backward(
    grad_out: Any,
    labels: Any,
    *,
    grad_weight: Any = ...,
) -> ndarray: ...
def one_hot(
    labels: Any,
    *,
    classes: int,
    out: Any = ...,
) -> ndarray: ...
def batch_matmul_forward(
    a: Any,
    b: Any,
    *,
    out: Any = ...,
) -> ndarray: ...
def batch_matmul_backward_a(
    grad_out: Any,
    b: Any,
    *,
    grad_a: Any = ...,
) -> ndarray: ...
def batch_matmul_backward_b(
    grad_out: Any,
    a: Any,
    *,
    grad_b: Any = ...,
) -> ndarray: ...
def sgd_update(
    param: Any,
    grad: Any,
    velocity: Any = ...,
    grad_scale: Any = ...,
    *,
    learning_rate: float = ...,
    momentum: float = ...,
    nesterov: bool = ...,
    weight_decay: float = ...,
    convention: str = ...,
    clipvalue: float = ...,
    l1: float = ...,
    l2: float = ...,
) -> None: ...
def rmsprop_update(
    param: Any,
    grad: Any,
    square: Any,
    average: Any = ...,
    velocity: Any = ...,
    grad_scale: Any = ...,
    *,
    learning_rate: float = ...,
    rho: float = ...,
    momentum: float = ...,
    epsilon: float = ...,
    centered: bool = ...,
    weight_decay: float = ...,
    convention: str = ...,
    clipvalue: float = ...,
    l1: float = ...,
    l2: float = ...,
) -> None: ...
def adam_update(
    param: Any,
    grad: Any,
    m: Any,
    v: Any,
    v_max: Any = ...,
    grad_scale: Any = ...,
    *,
    learning_rate: float = ...,
    step: int = ...,
    beta_1: float = ...,
    beta_2: float = ...,
    epsilon: float = ...,
    weight_decay: float = ...,
    convention: str = ...,
    clipvalue: float = ...,
    l1: float = ...,
    l2: float = ...,
) -> None: ...
def adagrad_update(
    param: Any,
    grad: Any,
    square: Any,
    grad_scale: Any = ...,
    *,
    learning_rate: float = ...,
    epsilon: float = ...,
    weight_decay: float = ...,
    convention: str = ...,
    clipvalue: float = ...,
    l1: float = ...,
    l2: float = ...,
) -> None: ...
def squared_norm(
    grad: Any,
    param: Any = ...,
    before: Any = ...,
    *,
    l1: float = ...,
    l2: float = ...,
    out: Any = ...,
) -> ndarray: ...
def clip_scale(
    squares: Any,
    *,
    clipnorm: float,
    scale: Any = ...,
) -> ndarray: ...
def accumulate_squares(
    total: Any,
    values: Any,
) -> None: ...
