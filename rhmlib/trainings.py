"""Which of several trainings of one setting to show: by weight decay, by number of steps."""

from __future__ import annotations

import pandas as pd


def better_decay(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Keep, for each setting, the runs with the weight decay that is better for the root in the mean.

    Parameters
    ----------
    table : DataFrame
        With the checkpoints "best".
    by : list of str
        Columns of the settings.

    Returns
    -------
    DataFrame
    """
    root = table[(table["checkpoint"] == "best") & (table["level"] == table["L"])]
    mean = root.groupby([*by, "weight_decay"], as_index=False)["probe_accuracy"].mean()
    best = mean.sort_values("probe_accuracy").groupby(by).tail(1)
    return table.merge(best[[*by, "weight_decay"]], on=[*by, "weight_decay"])


def longest(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Keep, for each setting, the runs that were given the most steps.

    Parameters
    ----------
    table : DataFrame
        Rows of runs, with their `steps`.
    by : list of str
        Columns of the settings.

    Returns
    -------
    DataFrame
    """
    return table[table["steps"] == table.groupby(by)["steps"].transform("max")]


def in_step(table: pd.DataFrame, by: list[str], objectives: tuple[str, ...]) -> pd.DataFrame:
    """Leave out trainings of a length that not all of the objectives had, where all of them were trained.

    Parameters
    ----------
    table : DataFrame
        Rows of runs, with their `objective` and `steps`.
    by : list of str
        Columns of the settings, without the objective.
    objectives : tuple of str
        Those that are compared. Rows of others are kept.

    Returns
    -------
    DataFrame
        Where some of the objectives lack a setting, or no length is common to all, the rows of the
        setting are kept as they are.
    """
    compared = table["objective"].isin(objectives)
    lengths = table[compared].groupby([*by, "steps"], as_index=False)["objective"].nunique()
    common = lengths[lengths["objective"] == len(objectives)]
    marked = table[[*by, "steps"]].merge(common, on=[*by, "steps"], how="left")["objective"].notna()
    settings = table[by].merge(common[by].drop_duplicates().assign(common=True), on=by, how="left")["common"]
    return table[~compared | marked.to_numpy() | settings.isna().to_numpy()]


def prolonged(table: pd.DataFrame, by: list[str], metric: str = "probe_accuracy") -> pd.DataFrame:
    """What the longest training of a setting found, beside the one before it: equal at a plateau.

    Parameters
    ----------
    table : DataFrame
        Rows of one level, checkpoint "best", with `steps`, `grammar_seed` and the metric.
    by : list of str
        Columns of the settings.
    metric : str

    Returns
    -------
    DataFrame
        A row for each setting that was trained at two lengths or more, indexed by `by`: `fewer` and `more`,
        the two largest numbers of steps; `before` and `after`, the metric in the mean over grammars that
        have both.
    """
    rows = []
    for key, part in table.groupby(by):
        runs = part.pivot_table(index="grammar_seed", columns="steps", values=metric)
        if runs.shape[1] > 1:
            two = runs.iloc[:, -2:].dropna()
            fewer, more = two.columns
            before, after = two.mean()
            rows.append((key, fewer, more, before, after))
    keys, *columns = zip(*rows, strict=True) if rows else [()] * 5
    index = pd.MultiIndex.from_tuples(keys, names=by)
    return pd.DataFrame(dict(zip(("fewer", "more", "before", "after"), columns, strict=True)), index=index)


def last_gain(table: pd.DataFrame, by: list[str], metric: str = "probe_accuracy") -> pd.Series:
    """What the last evaluation of a training added, in the mean over its runs: near 0 at a plateau.

    Parameters
    ----------
    table : DataFrame
        Rows of one level, checkpoint "curve", with `step`, `grammar_seed` and the metric.
    by : list of str
        Columns of the settings.
    metric : str

    Returns
    -------
    Series
        Indexed by `by`.
    """
    ordered = table.sort_values("step").groupby([*by, "grammar_seed"])[metric]
    return ordered.agg(lambda values: values.iloc[-1] - values.iloc[-2]).groupby(level=by).mean()
