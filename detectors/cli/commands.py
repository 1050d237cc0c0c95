"""The commands of `detectors`, in the order in which its help shows them."""

import typer

from detectors.cli import evaluate, inspect, train, use

app = typer.Typer(
    help="Train anomaly detectors from normal images, and use them.",
    epilog="Start with `detectors list`, then `detectors train NAME --dataset mvtec --category bottle --root DIR`.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("list")(inspect.list_)
app.command(epilog="Run the same command again to resume; the test split stays closed until `detectors eval`.")(train.train)
app.command("eval")(evaluate.eval_)
app.command()(use.predict)
app.command()(use.export)
app.command("score-samples")(use.score_samples)
app.command()(inspect.compare)
