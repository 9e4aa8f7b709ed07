"""Train the course's network on scikit-learn's digits, by Adam and by SGD with momentum."""

import sys

import numpy as np

from .network import Adam, Momentum, Settings, ThreeLayerConvNet, digits, train


def main() -> int:
    """Train, print the loss of each epoch and the share of test digits that are told right."""
    try:
        x, labels, x_test, labels_test = digits()
    except ImportError:
        print('the digits are scikit-learn\'s: pip install "pyconv-kernels[images]"', file=sys.stderr)
        return 1
    for rule, settings in ((Adam(), Settings(dropout=0.2)), (Momentum(), Settings(loss="hinge"))):
        network = ThreeLayerConvNet(x.shape[1:], settings)
        words = f"{type(rule).__name__}, {settings.loss} loss"
        for epoch, loss in enumerate(train(network, rule, x, labels), start=1):
            print(f"{words}: epoch {epoch:>2}, loss {loss:.4f}", flush=True)
        right = np.mean(network.scores(x_test).argmax(axis=1) == labels_test)
        print(f"{words}: {right:.1%} of {len(labels_test)} test digits are told right", flush=True)
    return 0


sys.exit(main())
