"""What sbibm publishes of each task, read from its wheel, and its classifier test (C2ST).

The wheel is not installed, only read. Get it with `pip download --no-deps sbibm==1.1.0`.
"""

import bz2
import io
import itertools
import zipfile

import numpy as np


def read_table(wheel, task, observation, name):
    """Rows of one CSV file of a task and observation (1 .. 10), without its line of titles."""
    with zipfile.ZipFile(wheel) as archive:
        path = f"sbibm/tasks/{task}/files/num_observation_{observation}/{name}"
        content = archive.read(path)
    if name.endswith(".bz2"):
        content = bz2.decompress(content)
    return np.loadtxt(io.BytesIO(content), delimiter=",", skiprows=1, ndmin=2)


def read_observation(wheel, task, observation):
    """Observed data (channels,)."""
    return read_table(wheel, task, observation, "observation.csv")[0]


def read_true_parameters(wheel, task, observation):
    """Parameters (d,) from which the observation was drawn."""
    return read_table(wheel, task, observation, "true_parameters.csv")[0]


def read_posterior(wheel, task, observation):
    """10,000 draws (10000, d) of the reference posterior."""
    return read_table(wheel, task, observation, "reference_posterior_samples.csv.bz2")


def c2st_by_fold(reference, draws, n_folds_used=5):
    """Share of held-out draws that a classifier tells from the reference: 0.5 is perfect, 1 worst.

    One number for each fold of a five-fold cross-validation; sbibm reports their mean. With fewer
    `n_folds_used` only the first are trained, each as it would be among five.
    """
    from sklearn.model_selection import KFold
    from sklearn.neural_network import MLPClassifier

    both = (np.concatenate([reference, draws]) - reference.mean(0)) / reference.std(0, ddof=1)
    both = both.astype(np.float32)
    label = np.repeat([0.0, 1.0], [len(reference), len(draws)])
    width = 10 * both.shape[1]
    folds = KFold(5, shuffle=True, random_state=1).split(both)
    scores = []
    for train, test in itertools.islice(folds, n_folds_used):
        classifier = MLPClassifier((width, width), max_iter=10_000, random_state=1)
        classifier.fit(both[train], label[train])
        scores.append(float(classifier.score(both[test], label[test])))
    return scores


def c2st(reference, draws, n_folds_used=5):
    """Mean of `c2st_by_fold`."""
    return float(np.mean(c2st_by_fold(reference, draws, n_folds_used)))
