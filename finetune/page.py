"""training.html: losses and samples of a training on one page, without a script and without a network."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path

from .ceiling import NAME
from .loop import Record, Training
from .plan import bucket_counts
from .samples import Drawn, Shot

_WIDTH, _HEIGHT = 640, 200
_BANDS = 4  # of noise
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:76em;padding:0 1em;background:#fff;color:#222}"
    "svg{background:#f6f6f6;max-width:100%}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em .2em 0;text-align:left;vertical-align:top}"
    "video,img{max-width:100%}figure{display:inline-block;margin:0 1em 1em 0;max-width:20em}"
)


def write_page(path: Path, training: Training, shots: Sequence[Shot], drawn: Sequence[Drawn]) -> Path:
    """Write the page; a browser that has it open sees the old or the new one whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(page(training, shots, drawn, path.parent), encoding="utf-8")
    os.replace(temporary, path)
    return path


def page(training: Training, shots: Sequence[Shot], drawn: Sequence[Drawn], folder: Path) -> str:
    """
    Args:
        folder: of the page; links to samples count from there.
    """
    history, prepared = training.history, training.prepared
    parts = [f"<h1>LoRA for {html.escape(prepared.variant.title)}</h1>"]
    done = f"{training.step} of {training.settings.steps} steps"
    parts.append(f"<p>{done}{', ended early' if training.ended_early else ''}; {len(prepared.items)} clips.</p>")
    parts.append("<h2>Loss</h2>")
    learned = smoothed([(record.step, record.loss) for record in history])
    measured = [(record.step, record.validation) for record in history if record.validation is not None]
    parts.append(chart({"training": learned, "validation": measured}))
    parts.append(f"<h2>Loss by noise level</h2>{bands(history)}<h2>Samples</h2>")
    for moment in reversed(drawn):
        parts.append(f"<h3>Step {moment.step}</h3>")
        for shot, file in zip(shots, moment.files, strict=False):
            link = html.escape(os.path.relpath(file, folder).replace(os.sep, "/"), quote=True)
            text = html.escape(shot.text)
            parts.append(
                f'<figure><video src="{link}" controls loop muted></video><figcaption>{text}</figcaption></figure>'
            )
    rows = "".join(
        f"<tr><td>{count}</td><td>{title}</td></tr>" for title, count in bucket_counts(prepared.items).items()
    )
    parts.append(f"<h2>Clips</h2><table>{rows}</table>")
    if (folder / NAME).is_file():
        parts.append(f'<h3>Some clips, and below each what the VAE leaves of it</h3><img src="{NAME}" alt="">')
    refused = "".join(f"<li>{html.escape(f'{clip.name}: {clip.reason}')}</li>" for clip in prepared.refused)
    parts.append(f"<h3>Refused</h3><ul>{refused}</ul>" if refused else "")
    head = f'<meta charset="utf-8"><title>Training</title><style>{_STYLE}</style>'
    return f"<!doctype html>\n<html>\n<head>{head}</head>\n<body>\n{chr(10).join(parts)}\n</body>\n</html>\n"


def smoothed(points: Sequence[tuple[int, float]], most: int = 200) -> list[tuple[int, float]]:
    """At most this many points, each the mean of its neighbours.

    >>> smoothed([(1, 1.0), (2, 3.0), (3, 5.0), (4, 7.0)], 2)
    [(2, 2.0), (4, 6.0)]
    """
    size = max(1, -(-len(points) // most))
    pieces = [points[n : n + size] for n in range(0, len(points), size)]
    return [(piece[-1][0], sum(value for _, value in piece) / len(piece)) for piece in pieces]


def chart(lines: dict[str, list[tuple[int, float]]]) -> str:
    """An SVG of lines over steps."""
    every = [point for line in lines.values() for point in line]
    if not every:
        return "<p>Nothing is measured yet.</p>"
    last, low, high = max(x for x, _ in every), min(y for _, y in every), max(y for _, y in every)
    spread = high - low or 1.0
    drawn = []
    for colour, (name, line) in zip(("#1769aa", "#c0392b"), lines.items(), strict=False):
        places = " ".join(
            f"{40 + (_WIDTH - 50) * x / last:.1f},{_HEIGHT - 20 - (_HEIGHT - 40) * (y - low) / spread:.1f}"
            for x, y in line
        )
        drawn.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        drawn.append(f'<text x="{60 + 110 * len(drawn)}" y="14" fill="{colour}" font-size="12">{name}</text>')
    drawn.append(f'<text x="2" y="24" font-size="11">{high:.3g}</text>')
    drawn.append(f'<text x="2" y="{_HEIGHT - 20}" font-size="11">{low:.3g}</text>')
    drawn.append(f'<text x="{_WIDTH - 60}" y="{_HEIGHT - 4}" font-size="11">step {last}</text>')
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">{"".join(drawn)}</svg>'


def bands(history: Sequence[Record]) -> str:
    """A table: the mean loss at little to much noise, in the first and in the last tenth of the steps."""
    tenth = max(1, len(history) // 10)
    rows = []
    for band in range(_BANDS):
        low, high = band / _BANDS, (band + 1) / _BANDS
        cells = []
        for part in (history[:tenth], history[-tenth:]):
            losses = [
                loss for record in part for level, loss in record.levels if low <= level < high or level == high == 1
            ]
            cells.append(f"<td>{sum(losses) / len(losses):.4f}</td>" if losses else "<td></td>")
        rows.append(f"<tr><td>{low:.2f} to {high:.2f}</td>{''.join(cells)}</tr>")
    return f"<table><tr><th>noise</th><th>first tenth</th><th>last tenth</th></tr>{''.join(rows)}</table>"
