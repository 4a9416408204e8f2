"""The published network's training step in TensorFlow and PyTorch, from given weights: contestants of training_race."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["tensorflow_step", "torch_step"]

Step = Callable[[], float]


def tensorflow_step(
    mode: str, weights: dict[str, NDArray], x: NDArray, labels: NDArray, rate: float, threads: int
) -> Step:
    """One step per call, returning the loss before the update. mode: graph, xla or keras. x (T,N,I), labels (N,)."""
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    variables = {name: tf.Variable(weight) for name, weight in weights.items()}
    images, digits = tf.constant(x), tf.constant(labels.astype(np.int32))
    hidden = len(weights["output_weight"])
    if mode == "keras":
        last_hidden, trained = _keras_lstm(tf, weights, x, variables)
    else:
        trained = list(variables.values())

        def last_hidden() -> Any:
            h = c = tf.zeros((x.shape[1], hidden))
            for x_t in tf.unstack(images):
                z = tf.concat([x_t, h], 1) @ variables["cell_weight"] + variables["cell_bias"]
                i, j, f, o = tf.split(z, 4, axis=1)
                c = tf.sigmoid(f + 1.0) * c + tf.sigmoid(i) * tf.tanh(j)
                h = tf.sigmoid(o) * tf.tanh(c)
            return h

    @tf.function(jit_compile=mode == "xla")
    def step() -> Any:
        with tf.GradientTape() as tape:
            logits = last_hidden() @ variables["output_weight"] + variables["output_bias"]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=digits, logits=logits)
            loss = tf.reduce_mean(losses)
        for variable, gradient in zip(trained, tape.gradient(loss, trained), strict=True):
            variable.assign_sub(rate * gradient)
        return loss

    return lambda: float(step())


def _keras_lstm(
    tf: Any, weights: dict[str, NDArray], x: NDArray, variables: dict[str, Any]
) -> tuple[Callable[[], Any], list[Any]]:
    """Keras's own LSTM layer with our weights; its gates stand in the order i, f, j, o and it adds no forget bias."""
    inputs = x.shape[2]
    i, j, f, o = np.split(np.vstack([weights["cell_weight"], weights["cell_bias"]]), 4, axis=1)
    f = f.copy()
    f[-1] += 1
    ordered = np.hstack([i, f, j, o])
    layer = tf.keras.layers.LSTM(len(weights["output_weight"]))
    images = tf.constant(x.transpose(1, 0, 2))
    layer(images)
    layer.set_weights([ordered[:inputs], ordered[inputs:-1], ordered[-1]])
    own = [variable.value for variable in layer.trainable_variables]
    return lambda: layer(images), [*own, variables["output_weight"], variables["output_bias"]]


def torch_step(weights: dict[str, NDArray], x: NDArray, labels: NDArray, rate: float, threads: int) -> Step:
    """One step per call of torch.nn.LSTM, returning the loss before the update; its gates' order is i, f, j, o too."""
    import torch

    torch.set_num_threads(threads)
    inputs, hidden = x.shape[2], len(weights["output_weight"])
    i, j, f, o = np.split(np.vstack([weights["cell_weight"], weights["cell_bias"]]), 4, axis=1)
    f = f.copy()
    f[-1] += 1
    ordered = torch.from_numpy(np.hstack([i, f, j, o]).T.copy())
    lstm, linear = torch.nn.LSTM(inputs, hidden), torch.nn.Linear(hidden, 10)
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(ordered[:, :inputs])
        lstm.weight_hh_l0.copy_(ordered[:, inputs:-1])
        lstm.bias_ih_l0.copy_(ordered[:, -1])
        lstm.bias_hh_l0.zero_()
        linear.weight.copy_(torch.from_numpy(weights["output_weight"].T.copy()))
        linear.bias.copy_(torch.from_numpy(weights["output_bias"]))
    lstm.bias_hh_l0.requires_grad_(False)  # a second bias would take the step of the first once more
    trained = [p for p in (*lstm.parameters(), *linear.parameters()) if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=rate)
    images, digits = torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64))

    def step() -> float:
        optimizer.zero_grad()
        _, (h, _) = lstm(images)
        loss = torch.nn.functional.cross_entropy(linear(h[0]), digits)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step
