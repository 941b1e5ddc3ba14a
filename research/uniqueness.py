"""
How much of its own each label says.

Signals of one symbol whose labels watch the same bars share one outcome; counting each as a full observation makes a
model, and every interval, too sure of itself. The weight of a row is the average uniqueness of its label: the mean over
the label's span of one over the number of labels open at that time (López de Prado, *Advances in Financial Machine
Learning*, 2018, §4.4). Labels of different symbols are counted apart.
"""

import numpy as np

from research.labels import Floats, Ints


def average_uniqueness(start: Ints, end: Ints) -> Floats:
    """
    Return the average uniqueness of the labels of one symbol.

    Parameters
    ----------
    start, end : np.ndarray
        int64, shape (n,): a label watches the market in ``(start, end]``, UTC ns, ``start < end``.

    Returns
    -------
    np.ndarray
        float64, shape (n,), in (0, 1]; 1 where no other label overlaps.

    Raises
    ------
    ValueError
        Propagate: a label that ends before it begins.

    """
    if not len(start):
        return np.empty(0)
    if not (start < end).all():
        raise ValueError("a label must end after it begins")
    edges = np.unique(np.concatenate([start, end]))
    change = np.zeros(len(edges), dtype=np.int64)
    np.add.at(change, np.searchsorted(edges, start), 1)
    np.add.at(change, np.searchsorted(edges, end), -1)
    open_labels = np.cumsum(change)[:-1]
    length = np.diff(edges).astype(np.float64)
    share = np.concatenate([[0.0], np.cumsum(np.where(open_labels > 0, length / np.maximum(open_labels, 1), 0.0))])
    at, to = np.searchsorted(edges, start), np.searchsorted(edges, end)
    return np.asarray((share[to] - share[at]) / (end - start))


def row_weights(symbol: Ints, close_time: Ints, label_end: Ints) -> Floats:
    """
    Return the average uniqueness of rows of several symbols.

    Only the rows given count: weights of a window must be computed from the rows of that window, else they tell of
    labels outside it.

    Parameters
    ----------
    symbol, close_time, label_end : np.ndarray
        int64, shape (n,): whose row, close of its signal bar, close of the last bar its label has seen.

    """
    weight = np.empty(len(symbol))
    for s in np.unique(symbol):
        own = symbol == s
        weight[own] = average_uniqueness(close_time[own], label_end[own])
    return weight
