"""The report: one table for each scenario, ratios first."""

import os
import platform
import statistics

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"


def median(values):
    return statistics.median(values) if values else float("nan")


def ratio(own, other):
    """The median of the ratios round by round: noise that lasts a round cancels out."""
    return median([mine / theirs for mine, theirs in zip(own, other) if theirs])


def table(scenario, results):
    """Markdown: every peer's figures, and Genkan's as ratios to it."""
    own = results["genkan, all policies"] if scenario.policies else results["genkan"]
    lines = [f"### {scenario.title}", "",
             "| proxy | CPU per request (us) | Genkan's CPU / this | p99 at a fixed rate (us) | Genkan's p99 / this | memory (MiB) |",
             "|---|---|---|---|---|---|"]
    for name, one in results.items():
        p99 = f"{median(one.p99):.0f}" if one.p99 else "-"
        p99_ratio = f"{ratio(own.p99, one.p99):.2f}" if one.p99 else "-"
        lines.append(f"| {name} | {median(one.cpu):.1f} | {ratio(own.cpu, one.cpu):.2f} | {p99} | {p99_ratio} | {one.memory:.0f} |")
    return "\n".join(lines) + "\n"


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def write(path, settings, versions, tables):
    """Replaces the measured part of the page; what people wrote around it stays."""
    parts = [BEGIN, "",
             f"{settings.rounds} rounds of {settings.seconds} s each, peers in turn within a round; medians, and medians of the "
             f"ratios round by round. 64 connections, one worker per proxy, no access log, h2load as client, nginx as backend, "
             f"all on {os.cpu_count()} cores ({processor()}, Linux {'.'.join(platform.release().split('.')[:2])}).", ""]
    parts += ["| proxy | version |", "|---|---|"] + [f"| {name} | {text} |" for name, text in versions.items()] + [""]
    parts += [table(scenario, results) for scenario, results in tables.items()] + [END]
    text = path.read_text(encoding="utf-8") if path.exists() else f"# Results\n\n{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    path.write_text(before + "\n".join(parts) + after, encoding="utf-8")
