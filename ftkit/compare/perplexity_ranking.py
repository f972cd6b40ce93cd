"""Perplexities are ranked where all strategies part the same texts into the same tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ftkit.compare.finished_runs import Run
from ftkit.compare.row_statistics import StrategyStatistics, shared_rows
from ftkit.errors.names import listed


def why_not_ranked(
    groups: Mapping[str, Sequence[Run]], found: Mapping[str, StrategyStatistics]
) -> str:
    """Return why these runs cannot be ranked, or "".

    A perplexity is one of tokens, so it depends on what a token is, and on how many of them stand
    before it: only that of one tokenizer and one length is comparable (transformers'
    documentation, "Perplexity of fixed-length models").
    """
    first = next(iter(groups.values()))[0]
    if first.figure != "perplexity" or len(groups) < 2:
        return ""
    lengths = {run.result.task.get("max_length") for group in groups.values() for run in group}
    if len(lengths) > 1:
        named = " and ".join(sorted(f"{length}" for length in lengths))
        return (
            f"These perplexities cannot be ranked: they were measured with task.max_length "
            f"{named}; run all with one length."
        )
    common = shared_rows(found)
    unknown = [label for label in groups if label not in common.labels]
    if unknown:
        return (
            f"These perplexities cannot be ranked: the texts of {listed(unknown)} are not known to "
            f"be parted into the same tokens as those of the others; give runs that have "
            f"predictions.parquet of the same test rows and seeds."
        )
    for seed, rows in common.rows.items():
        every = [found[label].seeds[seed] for label in common.labels]
        tokens = [one.parts[np.searchsorted(one.index, rows), 1] for one in every]
        for label, counted in zip(common.labels, tokens, strict=True):
            if (counted != tokens[0]).any():
                return (
                    f"These perplexities cannot be ranked: {common.labels[0]} and {label} part the "
                    f"same texts into {tokens[0].sum():,.0f} and {counted.sum():,.0f} tokens; "
                    f"compare models of one tokenizer."
                )
    return ""
