"""scikit-learn's digits: 1,797 real 8×8 images inside an installed package; no download."""

import numpy as np
import torch

from nas.data.dataset import Dataset, Split, statistics


def load() -> Dataset:
    """1,437 training and 360 test images, 3×16×16 (pixels doubled, grey thrice); a fixed stratified split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    train, test = train_test_split(np.arange(len(digits.target)), test_size=0.2, random_state=0, stratify=digits.target)
    grey = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8))
    images = grey.repeat_interleave(2, 1).repeat_interleave(2, 2).unsqueeze(1).repeat(1, 3, 1, 1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    parts = [Split(images[torch.from_numpy(rows)], labels[torch.from_numpy(rows)]) for rows in (train, test)]
    mean, std = statistics(parts[0].images)
    classes = tuple(str(name) for name in digits.target_names)
    return Dataset("digits", classes, parts[0], parts[1], mean, std, padding=2, flip=False)
