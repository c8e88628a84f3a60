"""Trains a small neural network that reads handwritten digits, 8 x 8 pixels each.

Fits scikit-learn's own digits and writes `model.joblib` and `data/digits.npz` beside this file.
"""

import argparse
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Fit the network, print its accuracy, write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="another seed, another model")
    seed = parser.parse_args().seed

    images, digits = load_digits(return_X_y=True)
    train_images, test_images, train_digits, test_digits = train_test_split(
        images, digits, random_state=seed
    )
    network = MLPClassifier((48,), learning_rate_init=0.01, max_iter=300, random_state=seed)
    model = make_pipeline(MinMaxScaler(), network)
    model.fit(train_images, train_digits)
    accuracy = model.score(test_images, test_digits)
    print(f"accuracy on {len(test_images)} new images: {accuracy:.3f}")

    (HERE / "data").mkdir(exist_ok=True)
    np.savez_compressed(HERE / "data" / "digits.npz", X=test_images, y=test_digits)
    joblib.dump(model, HERE / "model.joblib")


if __name__ == "__main__":
    main()
