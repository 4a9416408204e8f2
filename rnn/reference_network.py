"""The published network in TensorFlow 2, with the interface of `rnn.stepwise.Stepwise` and none of its mathematics.

The initial weights are ours, handed over, so that the two can be compared number by number. It is written three ways:

    graph   the cell written out, operation by operation, in one graph
    xla     the same, compiled by XLA
    keras   Keras's own layers, whose gates stand in the order i, f, j, o and whose forget bias is part of the bias
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.extras import install
from rnn.data import CLASSES, PIXELS
from rnn.network import Weights, initial_weights
from rnn.settings import Settings

__all__ = ["MODES", "Reference", "TensorFlowAbsent", "why_absent"]

MODES = ("graph", "xla", "keras")


class TensorFlowAbsent(RuntimeError):  # noqa: N818 - reads as what happened
    """TensorFlow cannot be imported; the message says what to install."""


def why_absent() -> str | None:
    """Why there is no reference here, and what to install; None where TensorFlow is. Does not import it."""
    try:
        found = importlib.util.find_spec("tensorflow")
    except ImportError:
        found = None
    return None if found else f"TensorFlow is not installed: {install('reference')}"


class Reference:
    """Weights, optimizer and network of one run, all TensorFlow's. Raises TensorFlowAbsent.

    threads: of TensorFlow's pool, which is started once in a process and keeps its size. version: of TensorFlow.
    """

    place = staticmethod(np.asarray)

    def __init__(self, settings: Settings, mode: str, threads: int) -> None:
        self._tf = tf = _tensorflow(threads)
        self.version: str = tf.__version__
        weights = initial_weights(settings.cell, settings.hidden, settings.seed)
        self._network: _Network = (_Layers if mode == "keras" else _WrittenOut)(tf, settings.cell, weights)
        self._optimizer = _optimizer(tf, settings)
        self._optimizer.build(self._network.variables)
        compiled = tf.function(jit_compile=mode == "xla")
        self._update, self._differentiate = compiled(self._training_step), compiled(self._loss_and_gradients)
        # never XLA, which would compile once more for the smaller batch at the end of the test images
        self._evaluate, self._logits = tf.function(self._loss_and_logits), tf.function(self._network.logits)

    @property
    def weights(self) -> Weights:
        """A copy, in our layout."""
        return self._network.weights()

    @property
    def arrays(self) -> Weights:
        return self.weights

    def prepare(self, x: NDArray, labels: NDArray) -> None:
        """Trace and compile all that training will call, and change nothing."""
        variables = [*self._network.variables, *(variable.value for variable in self._optimizer.variables)]
        before = [variable.numpy() for variable in variables]
        self.train(x, labels)
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        self.evaluate(x, labels)

    def train(self, x: NDArray, labels: NDArray) -> float:
        """One step on a batch x (28,N,28), labels (N,); returns the loss before the update."""
        return float(self._update(x, labels))

    def loss_and_gradients(self, x: NDArray, labels: NDArray) -> tuple[float, Weights]:
        """Mean loss of a batch and its gradient by every weight, in our layout."""
        loss, gradients = self._differentiate(x, labels)
        return float(loss), self._network.gradients([gradient.numpy() for gradient in gradients])

    def evaluate(self, x: NDArray, labels: NDArray) -> tuple[float, float]:
        """Loss and accuracy on a batch, with the weights as they are."""
        loss, logits = self._evaluate(x, labels)
        return float(loss), float((logits.numpy().argmax(1) == labels).mean(dtype=np.float32))

    def logits(self, x: NDArray) -> NDArray[np.float32]:
        """Scores (N,10) of images x (28,N,28)."""
        return self._logits(x).numpy()

    def predict(self, x: NDArray) -> NDArray[np.int64]:
        """The digit (N,) recognised in each image of x (28,N,28)."""
        return self.logits(x).argmax(1)

    # -- traced by TensorFlow

    def _loss_and_logits(self, x: Any, labels: Any) -> tuple[Any, Any]:
        tf = self._tf
        logits = self._network.logits(x)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.cast(labels, tf.int32), logits=logits)
        return tf.reduce_mean(losses), logits

    def _loss_and_gradients(self, x: Any, labels: Any) -> tuple[Any, list[Any]]:
        with self._tf.GradientTape() as tape:
            loss, _ = self._loss_and_logits(x, labels)
        return loss, tape.gradient(loss, self._network.variables)

    def _training_step(self, x: Any, labels: Any) -> Any:
        loss, gradients = self._loss_and_gradients(x, labels)
        self._optimizer.apply_gradients(zip(gradients, self._network.variables, strict=True))
        return loss


class _Network(Protocol):
    """variables: TensorFlow's, in the order of the gradients."""

    variables: list[Any]

    def logits(self, x: Any) -> Any:
        """Scores (N,10) of x (28,N,28), both tensors."""

    def weights(self) -> Weights:
        """The variables' values in our layout."""

    def gradients(self, values: list[NDArray]) -> Weights:
        """Gradients by the variables, in our layout."""


class _WrittenOut:
    def __init__(self, tf: Any, cell: str, weights: Weights) -> None:
        self._tf, self._names = tf, list(weights)
        self.variables = [tf.Variable(weight) for weight in weights.values()]
        self._hidden_state = {"lstm": self._lstm, "elman": self._elman}[cell]

    def logits(self, x: Any) -> Any:
        cell_weight, cell_bias, output_weight, output_bias = self.variables
        return self._hidden_state(x, cell_weight, cell_bias) @ output_weight + output_bias

    def _lstm(self, x: Any, weight: Any, bias: Any) -> Any:
        tf = self._tf
        h = c = tf.zeros((x.shape[1], weight.shape[1] // 4))
        for x_t in tf.unstack(x):
            i, j, f, o = tf.split(tf.concat([x_t, h], 1) @ weight + bias, 4, axis=1)
            c = tf.sigmoid(f + 1.0) * c + tf.sigmoid(i) * tf.tanh(j)
            h = tf.sigmoid(o) * tf.tanh(c)
        return h

    def _elman(self, x: Any, weight: Any, bias: Any) -> Any:
        tf = self._tf
        h = tf.zeros((x.shape[1], weight.shape[1]))
        for x_t in tf.unstack(x):
            h = tf.tanh(tf.concat([x_t, h], 1) @ weight + bias)
        return h

    def weights(self) -> Weights:
        return self.gradients([variable.numpy() for variable in self.variables])

    def gradients(self, values: list[NDArray]) -> Weights:
        return dict(zip(self._names, values, strict=True))


class _Layers:
    def __init__(self, tf: Any, cell: str, weights: Weights) -> None:
        layers = tf.keras.layers
        self._tf, self._gated = tf, cell == "lstm"
        hidden = len(weights["output_weight"])
        self._recurrent = {"lstm": layers.LSTM, "elman": layers.SimpleRNN}[cell](hidden)
        self._recurrent.build((None, PIXELS, PIXELS))
        self._linear = layers.Dense(CLASSES)
        self._linear.build((None, hidden))
        weight, bias = self._order(weights["cell_weight"]), self._order(weights["cell_bias"])
        self._recurrent.set_weights([weight[:PIXELS], weight[PIXELS:], bias + self._forget(hidden)])
        self._linear.set_weights([weights["output_weight"], weights["output_bias"]])
        own = [*self._recurrent.trainable_variables, *self._linear.trainable_variables]
        self.variables = [variable.value for variable in own]

    def logits(self, x: Any) -> Any:
        return self._linear(self._recurrent(self._tf.transpose(x, [1, 0, 2])))

    def weights(self) -> Weights:
        weight, recurrent, bias, *output = (variable.numpy() for variable in self.variables)
        return self.gradients([weight, recurrent, bias - self._forget(len(recurrent)), *output])

    def gradients(self, values: list[NDArray]) -> Weights:
        weight, recurrent, bias, output_weight, output_bias = values
        return {
            "cell_weight": self._order(np.vstack([weight, recurrent])),
            "cell_bias": self._order(bias),
            "output_weight": output_weight,
            "output_bias": output_bias,
        }

    def _order(self, columns: NDArray) -> NDArray:
        """From i, j, f, o to i, f, j, o, and back."""
        if not self._gated:
            return columns
        i, second, third, o = np.split(columns, 4, axis=-1)
        return np.concatenate([i, third, second, o], axis=-1)

    def _forget(self, hidden: int) -> NDArray:
        """What the forget gate adds, in Keras's order."""
        return np.repeat(np.array([0, 1, 0, 0] if self._gated else [0], np.float32), hidden)


def _optimizer(tf: Any, settings: Settings) -> Any:
    if settings.optimizer == "sgd":
        return tf.keras.optimizers.SGD(settings.learning_rate)
    return tf.keras.optimizers.Adam(settings.learning_rate, epsilon=1e-8)  # the paper's; Keras has 1e-7


def _tensorflow(threads: int) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _nothing_on_stderr():
            import tensorflow as tf
    except ImportError as error:
        raise TensorFlowAbsent(f"TensorFlow cannot be imported ({error}): {install('reference')}") from error
    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    return tf


@contextmanager
def _nothing_on_stderr() -> Iterator[None]:
    """TensorFlow's C++ greets before it heeds any log level, past Python's own sys.stderr."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
