# %% [markdown]
# # A cell: from a search to a figure for a paper
# On scikit-learn's digits and at a very small size, so that it takes minutes on a CPU. For CIFAR-10 leave `data` and
# the sizes out; `preset="paper"` is the papers' size.

# %%
import nas

found = nas.search(space="darts+sandglass", data="digits", preset="quick", epochs=2, channels=4, limit=400, chance=0)
found  # in a notebook: the cells and the result

# %%
print(found)
print(found.genotype)

# %% [markdown]
# Its curves, and the mixing weights of each edge over the epochs; `out` writes a file for LaTeX.

# %%
found.figure("curves", out="curves.pdf")

# %%
found.figure("alphas", out="alphas.pdf")

# %% [markdown]
# Another cell of the same supernet, exactly the best one under a limit of multiply-adds.

# %%
lighter = nas.derive(found, select="strongest,budget", max_madds="2M")
lighter.tables[0]

# %% [markdown]
# Both trained from scratch with three seeds each. The test set is read once a training, at its end.

# %%
cells = [lighter.path / f"genotype-{name}.json" for name in ("strongest", "budget")]
size = {"channels": 4, "cells": 3}
trained = nas.retrain(*cells, data="digits", preset="quick", epochs=2, limit=400, seeds=[0, 1, 2], **size)
trained

# %% [markdown]
# The same table for a paper, and what may be said of the difference.

# %%
print(trained.tables[0].latex())
print(*(difference.verdict for difference in trained.result.differences), sep="\n")

# %%
nas.cost(*cells).tables[-1]
