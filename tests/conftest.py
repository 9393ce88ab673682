"""What the checks of the pages measured is written down and told, whether one process did them or several."""

import json
import re
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling


class _ByPage(LoadScopeScheduling):
    """All that is asked of one visit to a page goes to one process, so that it is visited once."""

    def _split_scope(self, nodeid):
        visit = re.search(r"\[([\w-]+-\d+)\]$", nodeid)
        return visit[1] if visit else nodeid


def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") == "loadscope":
        return _ByPage(config, log)
    return None


def pytest_terminal_summary(terminalreporter):
    visits, folder = [], None
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", []):
                if name == "visit" and getattr(report, "when", "") == "call":
                    visits.append(value)
                if name == "site":
                    folder = Path(value)
    if visits and folder:
        terminalreporter.write_line(_report(visits, folder))


def _report(visits, folder):
    """Write site-report.json beside the folder of pages; return its summary as a line."""
    visits = sorted(visits, key=lambda visit: (visit["page"], -visit["width"]))
    wide = [visit for visit in visits if visit["width"] == max(visit["width"] for visit in visits)]
    heaviest = max(wide, key=lambda visit: visit["bytes"])
    slowest = max(wide, key=lambda visit: visit["interactive_ms"])
    summary = {
        "pages": len({visit["page"] for visit in visits}),
        "visits": len(visits),
        "widgets driven": sum(visit["widgets_driven"] for visit in wide),
        "outside requests": sum(len(visit["outside"]) for visit in visits),
        "console errors": sum(len(visit["console_errors"]) for visit in visits),
        "serious or critical violations": _sum(visit["violations"] for visit in visits),
        "largest page": {"page": heaviest["page"], "MB": round(heaviest["bytes"] / 1e6, 2)},
        "slowest page": {"page": slowest["page"], "interactive_ms": slowest["interactive_ms"]},
    }
    path = folder.parent / "site-report.json"
    path.write_text(json.dumps({"summary": summary, "visits": visits}, indent=1) + "\n", encoding="utf-8")
    told = ", ".join(
        f"{key} " + (" ".join(map(str, value.values())) if isinstance(value, dict) else str(value))
        for key, value in summary.items()
    )
    return f"site: {told} -> {path}"


def _sum(lists):
    found = list(lists)
    return None if None in found else sum(map(len, found))
