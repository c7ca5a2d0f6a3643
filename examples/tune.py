# %% [markdown]
# # A mobile network under a budget
# MobileNeXt's settings tuned so that every trial lies just under its budget of multiply-adds.

# %%
import nas

tuned = nas.tune(
    spaces="mobilenext",
    budgets=["2M", "3M"],
    trials=3,
    only=["reduction"],
    published=False,
    data="digits",
    preset="quick",
    epochs=1,
    limit=400,
)
tuned  # in a notebook: the best trials under each budget

# %%
tuned.figure("madds", out="front.pdf")

# %%
best = tuned.result.best[0]
print(best.accuracy, best.madds, best.values)

# %% [markdown]
# What the published network costs at ImageNet's size, stage by stage, at three identity multipliers.

# %%
costs = nas.cost(space="mobilenext", identity="1,1/2,1/6")
print(costs.tables[-1].markdown())
