# %% [markdown]
# # Images of one's own
# `data` may be a torch Dataset of (image, label), or a pair of tensors: uint8 images (n, 3, H, W) and labels (n,). They
# are kept in a file beside the runs, so that a run can be resumed, retrained and evaluated later.

# %%
import torch

import nas

labels = torch.arange(300) % 3
images = torch.randint(0, 80, (300, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
images[labels == 1, 0] += 120  # red
images[labels == 2, :, :12] += 120  # bright above

# %%
photos = nas.pack((images, labels), folder="photos")  # a fifth becomes the test set; or nas.pack(train, test)
found = nas.search(data=photos, preset="quick", epochs=2, channels=4, batch=16, chance=0)
trained = nas.retrain(found, data=photos, preset="quick", epochs=3, batch=16, channels=4, cells=3)
trained

# %% [markdown]
# The trained network is a plain module; so are its feature maps, for a detector or segmenter.

# %%
network = nas.load(trained)
body = nas.features(trained)
normalised = (images[:2] / 255 - 0.5) / 0.25
print(network(normalised).shape, {name: tuple(map_.shape) for name, map_ in body(normalised).items()})

# %%
nas.evaluate(trained)
