"""What is known about each dataset beforehand: `manifests/datasets/<name>.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from synthgen.errors import UsageError, suggest
from synthgen.manifests import manifest_dir


@dataclass(frozen=True, slots=True)
class CategoryInfo:
    """What synthesis wants to know about a category.

    Attributes:
        material: one of `metal`, `wood`, `fabric`, `plastic`, `food`, `stone`.
        foreground: `auto` (find the object) or `whole` (the whole image is the object).
        mixture: weights of the kinds of anomaly that it is known for; empty where nothing is known.
    """

    material: str
    foreground: str = "auto"
    mixture: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A dataset's manifest.

    Attributes:
        name: what `--dataset` calls it.
        title: its full name.
        licence: licence of its images.
        commercial_use: whether that licence allows commercial use; None where the user has to know.
        homepage: where it can be had; empty for one's own images and for rendered ones.
        layout: what its folder looks like, for a person.
        reader: the module in `synthgen.datasets` that reads the layout.
        normal: folder of the normal training images within a category, where the layout has one.
        wrappers: folders that the download may put around the categories.
        default: what holds for categories that are not listed.
        categories: what is known about each category.
    """

    name: str
    title: str
    licence: str
    commercial_use: bool | None
    homepage: str
    layout: str
    reader: str
    default: CategoryInfo
    normal: str = ""
    wrappers: tuple[str, ...] = ()
    categories: Mapping[str, CategoryInfo] = field(default_factory=dict)

    def category(self, name: str) -> CategoryInfo:
        """What is known about a category, or the dataset's default for one that is not listed."""
        return self.categories.get(name, self.default)


def dataset_names() -> list[str]:
    """The names that `--dataset` takes, sorted."""
    return sorted(path.stem for path in (manifest_dir() / "datasets").glob("*.yaml"))


@cache
def dataset_info(name: str) -> DatasetInfo:
    """The manifest of a dataset.

    Raises:
        UsageError: there is no dataset of that name.
    """
    if name not in dataset_names():
        raise UsageError(f"{name!r}: there is no such dataset.{suggest(name, dataset_names())}")
    import yaml

    text = (manifest_dir() / "datasets" / f"{name}.yaml").read_text(encoding="utf-8")
    fields = yaml.safe_load(text)
    fields["default"] = CategoryInfo(**fields["default"])
    fields["wrappers"] = tuple(fields.get("wrappers", ()))
    fields["categories"] = {key: CategoryInfo(**value) for key, value in fields.get("categories", {}).items()}
    return DatasetInfo(name=name, **fields)
