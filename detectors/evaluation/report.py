"""One HTML file that shows how a detector does: numbers, curves, and the images it is best and worst at."""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detectors.inference.overlays import display_range, overlay, thresholds_of
from detectors.metrics import MetricError, pro_curve, roc_curve
from detectors.results import Evaluation, ScoredImage
from synthgen.files import write_text
from synthgen.samples import Image

_SHOWN = 6
_SIDE = 256
_NORMAL, _ANOMALY = "#3b6fb6", "#c8443a"
_MOST_POINTS = 2000
_STYLE = """
:root { --paper: #fbfbf9; --ink: #1a1b1f; --faint: #63656d; --line: #dfe0e4; }
@media (prefers-color-scheme: dark) { :root { --paper: #141519; --ink: #eceef2; --faint: #9ea2ad; --line: #33363f } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1400px;
       margin: 0 auto; padding: 8px clamp(12px, 3vw, 36px) 40px }
h1 { font-size: clamp(22px, 4vw, 32px); overflow-wrap: anywhere }
h2 { font-size: 19px; margin: 1.6em 0 .4em }
.scroll { overflow-x: auto }
table { border-collapse: collapse; margin: .5em 0 1em; font-size: 14px }
td, th { padding: .2em 1em .2em 0; text-align: left; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums }
.stamp { background: #b3261e; color: white; padding: .7em 1em; font-weight: 600; border-radius: 8px }
.images { display: flex; flex-wrap: wrap; gap: 18px }
figure { margin: 0; max-width: 100% }
figure div { display: flex; gap: 4px }
figure img { flex: 0 1 256px; min-width: 0; height: auto; align-self: start; border-radius: 6px }
@media (max-width: 560px) { figure div { flex-wrap: wrap } figure img { flex-basis: 44vw } }
figcaption { color: var(--faint); font-size: 13px; overflow-wrap: anywhere; max-width: 1050px }
.curves { display: flex; flex-wrap: wrap; gap: 10px }
.curves img { max-width: 100%; border-radius: 8px }
"""


Explain = Callable[[Image], Mapping[str, Image]]
"""Pictures of what lies between an image and its anomaly map, by name."""


def write_report(
    path: Path, evaluation: Evaluation, title: str, facts: dict[str, str], stamp: str = "", explain: Explain | None = None
) -> Path:
    """Write a report as one file, pictures included.

    Args:
        path: the HTML file.
        evaluation: what it is of; at least one image.
        title: its heading.
        facts: what a reader must know, by name.
        stamp: a warning above everything else, such as that the numbers were selected on the test split.
        explain: asked about each image that is shown; its pictures stand between the image and the anomaly map.

    Raises:
        StorageError: it cannot be written.
    """
    parts = [f"<h1>{_text(title)}</h1>"]
    if stamp:
        parts.append(f'<p class="stamp">{_text(stamp)}</p>')
    parts += [_table(list(facts.items())), "<h2>Metrics</h2>", _metrics(evaluation)]
    curves = [_histogram(evaluation), _roc(evaluation), _pro(evaluation)]
    parts.append('<p class="curves">' + "".join(_img(curve, "") for curve in curves if curve) + "</p>")
    parts += ["<h2>By kind of image</h2>", _kinds(evaluation)]
    for heading, images in _chosen(evaluation):
        figures = "".join(_figure(image, evaluation, explain) for image in images)
        parts.append(f'<h2>{_text(heading)}</h2><div class="images">{figures}</div>')
    parts.append("<p>Outlines: white what the detector marks, green the truth.</p>")
    page = '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    page += f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{_text(title)}</title>'
    page += f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    write_text(path, page)
    return path


def _chosen(evaluation: Evaluation) -> list[tuple[str, list[ScoredImage]]]:
    """The images worth looking at, under their headings."""
    ascending = sorted(evaluation.images, key=lambda image: image.score)
    descending = sorted(evaluation.images, key=lambda image: -image.score)
    normal = [image for image in descending if image.label == 0]
    anomalies = [image for image in ascending if image.label == 1]
    unknown = [image for image in descending if image.label is None]
    groups = [
        ("Normal images with the highest scores", normal[:_SHOWN]),
        ("Anomalies with the lowest scores", anomalies[:_SHOWN]),
        ("Anomalies with the highest scores", anomalies[_SHOWN:][: -_SHOWN - 1 : -1]),
        ("Images with the highest scores", unknown[:_SHOWN]),
    ]
    return [(heading, images) for heading, images in groups if images]


def _metrics(evaluation: Evaluation) -> str:
    rows = [(name, f"{100 * value:.2f} %") for name, value in evaluation.metrics.items()]
    rows += [(name, why) for name, why in evaluation.missing.items()]
    if evaluation.thresholds is not None:
        for name, value in (("image", evaluation.thresholds.image), ("pixel", evaluation.thresholds.pixel)):
            rows.append((f"{name} threshold (from held-out normal images)", f"{value:.4f}"))
    return _table([("protocol", evaluation.protocol), *rows])


def _kinds(evaluation: Evaluation) -> str:
    rows = []
    for kind in sorted({image.kind for image in evaluation.images}, key=lambda kind: (kind != "good", kind)):
        scores = [image.score for image in evaluation.images if image.kind == kind]
        called = "" if evaluation.thresholds is None else f"{sum(score > evaluation.thresholds.image for score in scores)}"
        rows.append((kind, str(len(scores)), f"{np.mean(scores):.4f}", called))
    return _table(rows, ("kind", "images", "mean score", "called anomalous"))


def _figure(scored: ScoredImage, evaluation: Evaluation, explain: Explain | None) -> str:
    thresholds = thresholds_of(evaluation)
    threshold = None if evaluation.thresholds is None else thresholds.pixel
    picture = overlay(scored.image, scored.anomaly_map, *display_range(thresholds), threshold, scored.mask)
    caption = f"{scored.name}: {scored.kind}, score {scored.score:.4f}"
    between = explain(scored.image) if explain is not None else {}
    shown = " ".join(_img(_png(_fit(each)), caption) for each in (scored.image, *between.values(), picture))
    caption += f" (image, {', '.join(between)}, scores)" if between else ""
    return f"<figure><div>{shown}</div><figcaption>{_text(caption)}</figcaption></figure>"


def _histogram(evaluation: Evaluation) -> bytes | None:
    def draw(axes: Any) -> None:
        scores = [image.score for image in evaluation.images]
        edges = np.linspace(min(scores), max(scores) if max(scores) > min(scores) else min(scores) + 1, 31)
        for label, name, colour in ((0, "normal", _NORMAL), (1, "anomaly", _ANOMALY), (None, "unknown", "#71717a")):
            chosen = [image.score for image in evaluation.images if image.label == label]
            if chosen:
                axes.hist(chosen, edges, alpha=0.6, color=colour, label=name)
        if evaluation.thresholds is not None:
            axes.axvline(evaluation.thresholds.image, color="black", lw=1, ls="--", label="threshold")
        axes.set(xlabel="image score", ylabel="images")
        axes.legend()

    return _plot(draw)


def _roc(evaluation: Evaluation) -> bytes | None:
    curves = []
    known = [image for image in evaluation.images if image.label is not None]
    masked = [image for image in known if image.mask is not None]
    for name, labels, scores in (
        ("images", np.array([image.label for image in known]), np.array([image.score for image in known])),
        ("pixels", _flat([image.mask for image in masked]), _flat([image.anomaly_map for image in masked])),
    ):
        try:
            curves.append((name, *roc_curve(labels, scores)))
        except MetricError:
            continue  # the table of metrics says why

    def draw(axes: Any) -> None:
        for name, false, true in curves:
            step = max(1, len(false) // _MOST_POINTS)
            axes.plot(np.append(false[::step], 1), np.append(true[::step], 1), label=name)
        axes.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC", ylim=(0, 1.02))
        axes.legend(loc="lower right")

    return _plot(draw) if curves else None


def _pro(evaluation: Evaluation) -> bytes | None:
    masked = [(image.anomaly_map, image.mask) for image in evaluation.images if image.mask is not None]
    try:
        rates, overlaps = pro_curve([anomaly_map for anomaly_map, _ in masked], [mask for _, mask in masked])
    except MetricError:
        return None

    def draw(axes: Any) -> None:
        axes.plot(rates, overlaps, color=_ANOMALY)
        axes.set(xlabel="false positive rate", ylabel="mean overlap of regions", title="PRO", xlim=(0, 0.3), ylim=(0, 1.02))

    return _plot(draw)


def _plot(draw: Callable[[Any], None]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.2), dpi=80, layout="tight")
    canvas = FigureCanvasAgg(figure)
    draw(figure.add_subplot())
    stream = io.BytesIO()
    canvas.print_png(stream)  # type: ignore[no-untyped-call]
    return stream.getvalue()


def _flat(arrays: Sequence[Any]) -> Any:
    return np.concatenate([array.ravel() for array in arrays]) if arrays else np.zeros(0)


def _fit(picture: Image) -> Image:
    height, width = picture.shape[:2]
    scale = _SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8)


def _png(picture: Image) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())


def _img(png: bytes, text: str) -> str:
    return f'<img alt="{_text(text)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...] = ()) -> str:
    head = f"<tr>{''.join(f'<th>{_text(cell)}</th>' for cell in header)}</tr>" if header else ""
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table>{head}{body}</table></div>'


def _text(text: str) -> str:
    # a file name may hold bytes that are no text
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))
