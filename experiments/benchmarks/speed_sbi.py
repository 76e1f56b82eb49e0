"""Train the paper's network in sbi, two epochs for each line read: the other side of speed.py.

Runs in an environment of its own (``pip install torch sbi``); `speed.py` starts it. Takes the file
of simulations and the number of threads (0: as they come); answers each line on the standard input
by a line of JSON.
"""

import json
import sys
import warnings

import numpy as np
import sbi
import torch
from sbi.inference import NPE_C
from sbi.neural_nets import posterior_nn
from sbi.utils import BoxUniform

BATCH, ATOMS = 50, 10


def main():
    warnings.simplefilter("ignore")
    path, threads = sys.argv[1], int(sys.argv[2])
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    with np.load(path) as file:
        low, high, theta, x = (
            torch.as_tensor(file[name], dtype=torch.float32)
            for name in ("low", "high", "theta", "noisy")
        )
    n_prior = len(theta) // 2
    network = posterior_nn(
        "nsf", num_transforms=15, num_bins=10, hidden_features=50, num_blocks=2
    )  # no embedding: the features enter as they are
    inference = NPE_C(BoxUniform(low, high), density_estimator=network, show_progress_bars=False)

    def train():
        # The weights go on from where they are. Two epochs: a ceiling of one is checked too late.
        inference.train(
            num_atoms=ATOMS, training_batch_size=BATCH, max_num_epochs=1, stop_after_epochs=1000
        )

    inference.append_simulations(theta[:n_prior], x[:n_prior])
    train()
    # Any proposal but the prior makes it round two, with the atomic loss.
    proposal = inference.build_posterior().set_default_x(x[-1])
    inference.append_simulations(theta[n_prior:], x[n_prior:], proposal=proposal)
    description = {"sbi": sbi.__version__, "torch": torch.__version__}
    print(json.dumps(description | {"threads": torch.get_num_threads()}), flush=True)
    for _ in sys.stdin:
        known = len(inference.summary["epoch_durations_sec"])
        train()
        print(json.dumps(inference.summary["epoch_durations_sec"][known:]), flush=True)


if __name__ == "__main__":
    main()
