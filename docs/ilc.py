"""Draw the README's figure from the committed table: python docs/ilc.py."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from rhmlib import figures, fits, results

figures.use_style()
table = results.read("ilc")
top = table[(table["targets"] == "all") & (table["level"] == table["L"] - 1)]
figure = figures.raw_and_rescaled(fits.curves(top, by=["m"]), 3)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
