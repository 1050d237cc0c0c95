"""What a detector trains with: normal images, held-out normal images, and synthetic anomalies made of the held-out ones.

From the images on disk (anomalies are then made on the fly) or from shards; who trains sees no difference. Nothing here can
open a test split.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, overload

from detectors.data.preprocessing import Preprocessing
from synthgen.anomalies.registry import AUTO
from synthgen.datasets import NormalSource, dataset_info, read_normal
from synthgen.decisions import decide
from synthgen.edges.pipeline import EdgeAssets
from synthgen.errors import InputDataError, UsageError, suggest
from synthgen.files import file_sha256
from synthgen.plan import Plan, make_plan, specs_of
from synthgen.recipe import make_recipe
from synthgen.runs.held_out import OF_DETECTORS, choose_held_out
from synthgen.samples import NormalImage, Sample, Size
from synthgen.shards import ShardDataset
from synthgen.synthesis import SynthesisDataset

_SEED_OFFSET = 1 << 40  # validation anomalies share no seed with a training shard (those of people count from 0)
_THREADS = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lazy(Sequence[T]):
    """A sequence whose items are made when asked for.

    Attributes:
        length: number of items.
        make: gives item i.
        threads: how many may be made at the same time.
    """

    length: int
    make: Callable[[int], T]
    threads: int = 1

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        """Item `index`, or a list of items for a slice."""
        if isinstance(index, slice):
            return [self.make(i) for i in range(self.length)[index]]
        return self.make(range(self.length)[index])

    def __iter__(self) -> Iterator[T]:
        """The items in order, some of them made ahead."""
        with ThreadPoolExecutor(self.threads) as pool:
            ahead = 2 * self.threads
            waiting = [pool.submit(self.make, i) for i in range(min(ahead, self.length))]
            for i in range(self.length):
                item = waiting.pop(0).result()
                if i + ahead < self.length:
                    waiting.append(pool.submit(self.make, i + ahead))
                yield item


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainingData:
    """Everything that training may see of one category.

    Attributes:
        dataset, category: names.
        preprocessing: how files become pixels, so that test images become them in the same way.
        normals: training images.
        held_out: normal images that are not trained on, for selection and thresholds.
        anomalies: synthetic anomalies made of the held-out images.
        card: the split card: counts, digests, overlap.
        learned: synthetic anomalies made of the training images, for detectors that learn from some; rejected ones among
            them have label 0.
        learned_of: number in `normals` of the image that each of them was made of.
    """

    dataset: str
    category: str
    preprocessing: Preprocessing
    normals: Sequence[NormalImage]
    held_out: Sequence[NormalImage]
    anomalies: Sequence[Sample]
    card: dict[str, Any]
    learned: Sequence[Sample] = ()
    learned_of: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class OnTheFly:
    """Which anomalies are made of normal images.

    Attributes:
        types: names of types; `auto` for the mixture that suits the category.
        per_image: so many of each image (and type, where types are named).
        seed: of the recipe.
    """

    types: tuple[str, ...] = (AUTO,)
    per_image: int = 2
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class CategoryShards:
    """The samples of one category in a folder of shards.

    Attributes:
        shards: all of them.
        place: where they are, for messages.
        dataset, category: names.
        size: (height, width) of the samples.
    """

    shards: ShardDataset
    place: str
    dataset: str
    category: str
    size: Size


def open_shards(path: Path, dataset: str | None, category: str | None) -> CategoryShards:
    """The samples of a category, before anything is known of the detector.

    Args:
        path: a folder of shards, or one shard.
        dataset: which one, where the shards hold several.
        category: likewise.

    Raises:
        UsageError: the shards hold several categories and none is named, or another one; or samples of several sizes.
        IntegrityError: a shard is damaged.
    """
    shards = ShardDataset(path)
    there = sorted({(header.dataset, header.category) for header in shards.headers})
    fitting = [key for key in there if dataset in (None, key[0]) and category in (None, key[1])]
    if len(fitting) != 1:
        asked = f"--dataset {dataset} --category {category}: " if dataset or category else ""
        names = ", ".join("/".join(key) for key in there)
        raise UsageError(f"{asked}{path} holds {names}: name one of them with --dataset and --category.")
    sizes = {header.image_size for header in shards.headers if (header.dataset, header.category) == fitting[0]}
    if len(sizes) != 1:
        raise UsageError(f"{path}: samples of several sizes ({sorted(sizes)}). Train from one at a time.")
    return CategoryShards(shards, str(path), *fitting[0], sizes.pop())


def from_shards(chosen: CategoryShards, preprocessing: Preprocessing, split_seed: int = 0, learn: bool = False) -> TrainingData:
    """The normal images of shards; validation anomalies are the shards' samples of the held-out ones.

    Args:
        chosen: of `open_shards`.
        preprocessing: how the detector wants its pixels; its `stored` becomes the shards' size.
        split_seed: another one holds out other images.
        learn: whether the samples of the training images are wanted too.

    Raises:
        InputDataError: too few images.
        IntegrityError: a shard is damaged.
    """
    shards, dataset, category = chosen.shards, chosen.dataset, chosen.category
    first: dict[str, int] = {}
    samples: dict[str, list[int]] = {}
    digest: dict[str, str] = {}
    columns = zip(shards.ids, shards.column("source"), shards.column("source_sha256"), strict=True)
    for number, (sample_id, source, sha256) in enumerate(columns):
        if sample_id.startswith(f"{dataset}/{category}/"):
            first.setdefault(source, number)
            samples.setdefault(source, []).append(number)
            digest[source] = sha256
    sources = sorted(first)
    _enough(len(sources), chosen.place)
    split = Split.of([str(digest[source]) for source in sources], split_seed)
    labels = shards.column("label")
    of_held_out = [number for i in split.held_out for number in samples[sources[i]] if labels[number]]
    learned = [(number, k) for k, i in enumerate(split.normals) for number in samples[sources[i]] if labels[number] and learn]

    def normal(source: str) -> NormalImage:
        sample = shards[first[source]]
        return NormalImage(dataset, category, str(source), sample.source_sha256, sample.normal)

    anomalies: Sequence[Sample] = Lazy(len(of_held_out), lambda i: shards[of_held_out[i]])
    card = _card("shards", dataset, category, split, anomalies)
    if learn:
        card |= {"training_anomalies": len(learned), "training_anomalies_sha256": samples_sha256(shards)}
    return TrainingData(
        dataset=dataset,
        category=category,
        preprocessing=replace(preprocessing, stored=chosen.size),
        normals=Lazy(len(split.normals), lambda i: normal(sources[split.normals[i]])),
        held_out=Lazy(len(split.held_out), lambda i: normal(sources[split.held_out[i]])),
        anomalies=anomalies,
        card=card,
        learned=Lazy(len(learned), lambda i: shards[learned[i][0]]),
        learned_of=tuple(k for _, k in learned),
    )


def from_dataset(
    dataset: str,
    root: Path | None,
    category: str,
    preprocessing: Preprocessing,
    *,
    split_seed: int = 0,
    learn: OnTheFly | None = None,
    edges: EdgeAssets | None = None,
) -> TrainingData:
    """The official normal training images of a category; anomalies are made on the fly.

    Those of the held-out images have the types that are learned, of the mixture that suits the category where none are.

    Args:
        dataset: its name.
        root: the dataset's folder; None looks in `$SYNTHGEN_DATA`.
        category: its name.
        preprocessing: how the detector wants its pixels.
        split_seed: another one holds out other images.
        learn: the anomalies of the training images; None for none.
        edges: draws edge edits, where there are some among them.

    Raises:
        InputDataError: no such category, or too few images.
    """
    of_held_out = replace(learn or OnTheFly(), per_image=1, seed=_SEED_OFFSET + split_seed)
    plan = _plan(dataset, root, category, preprocessing, of_held_out, edges)
    sources = plan.scans[0].categories[0].used
    split = Split.of([_file_digest(source) for source in sources], split_seed)
    _enough(len(sources), f"{dataset}/{category}")
    anomalies = [sample for sample in SynthesisDataset(_only(plan, {sources[i] for i in split.held_out})) if sample.label]
    card = _card("images, anomalies made on the fly", dataset, category, split, anomalies)
    learned: Sequence[Sample] = ()
    learned_of: tuple[int, ...] = ()
    if learn is not None:
        places = {sources[i]: k for k, i in enumerate(split.normals)}
        part = _only(_plan(dataset, root, category, preprocessing, learn, edges), set(places))
        learned = SynthesisDataset(part)
        each = ((shard, source) for shard in part.shards for source in shard.sources)
        learned_of = tuple(places[source] for shard, source in each for _ in specs_of(part.recipe, shard, source))
        card |= {"training_anomalies": len(learned), "training_anomalies_sha256": _sha256(part.config_json)}

    def read(numbers: Sequence[int]) -> Lazy[NormalImage]:
        return Lazy(
            len(numbers), lambda i: read_normal(sources[numbers[i]], preprocessing.stored, preprocessing.bit_depth), _THREADS
        )

    return TrainingData(
        dataset=dataset,
        category=category,
        preprocessing=preprocessing,
        normals=read(split.normals),
        held_out=read(split.held_out),
        anomalies=anomalies,
        card=card,
        learned=learned,
        learned_of=learned_of,
    )


def samples_sha256(shards: ShardDataset) -> str:
    """Digest of the contents of shards: of which samples a detector has learned."""
    return _sha256("\n".join(sorted(shards.contents)))


@dataclass(frozen=True, slots=True)
class Split:
    """Which images are trained on, and which are held out: by the hash of their contents.

    Files of the same content go to the same side, and other files move none. A tenth is held out, at least 6, but never more
    than a third.

    Attributes:
        digests: sha256 of the images' files.
        normals, held_out: numbers of the images, ascending.
        seed: another one gives another split.
    """

    digests: tuple[str, ...]
    normals: tuple[int, ...]
    held_out: tuple[int, ...]
    seed: int

    @classmethod
    def of(cls, digests: Sequence[str], seed: int) -> "Split":
        """The split of images whose files have these digests."""
        chosen = {digests[number] for number in choose_held_out(digests, OF_DETECTORS, f"{seed}\n")}
        held_out = tuple(number for number, digest in enumerate(digests) if digest in chosen)
        normals = tuple(number for number, digest in enumerate(digests) if digest not in chosen)
        return cls(tuple(digests), normals, held_out, seed)

    @property
    def contents(self) -> tuple[set[str], set[str]]:
        """Digests of either side."""
        return {self.digests[i] for i in self.normals}, {self.digests[i] for i in self.held_out}


def categories_of(dataset: str, root: Path | None) -> list[str]:
    """The categories of a dataset that are there."""
    from synthgen.datasets import scan

    return [category.name for category in scan(dataset, root).categories if category.used]


def _plan(
    dataset: str, root: Path | None, category: str, preprocessing: Preprocessing, made: OnTheFly, edges: EdgeAssets | None
) -> Plan:
    """The plan of the anomalies of a category, at the size at which images are read."""
    recipe = make_recipe(
        {
            "name": "anomalies",
            "datasets": {dataset: {"categories": [category], "bit_depth": preprocessing.bit_depth}},
            "types": list(made.types),
            "per_image": made.per_image,
            "size": list(preprocessing.stored),
            "seed": made.seed,
        }
    )
    return make_plan(decide(recipe, {} if root is None else {dataset: root}, edges=edges))


def _enough(count: int, what: str) -> None:
    if count < OF_DETECTORS.fewest:
        raise InputDataError(
            f"{what}: {count} normal images; at least {OF_DETECTORS.fewest} are needed, as a third of so few is held out for "
            "thresholds. With 50 and more the numbers begin to mean something."
        )


def _only(plan: Plan, sources: set[NormalSource]) -> Plan:
    """The part of a plan that is made of these images."""
    shards = (replace(shard, sources=tuple(source for source in shard.sources if source in sources)) for shard in plan.shards)
    return replace(plan, shards=tuple(shard for shard in shards if shard.sources))


def _file_digest(source: NormalSource) -> str:
    """Of a file's contents; of an image that is rendered, of its name."""
    return _sha256(source.source) if source.path is None else file_sha256(source.path)


def _card(carrier: str, dataset: str, category: str, split: Split, anomalies: Sequence[Sample]) -> dict[str, Any]:
    """What a person must know about the split to believe the numbers."""
    trained, held_out = split.contents
    types: dict[str, int] = {}
    for sample in anomalies:
        types[sample.spec.type] = types.get(sample.spec.type, 0) + 1
    return {
        "dataset": dataset,
        "category": category,
        "licence": dataset_info(dataset).licence,
        "carrier": carrier,
        "split_seed": split.seed,
        "train_normals": len(split.normals),
        "held_out_normals": len(split.held_out),
        "held_out_anomalies": types,
        "overlap": len(trained & held_out),
        "train_sha256": _digest(trained),
        "held_out_sha256": _digest(held_out),
        "test_split": "not opened",
    }


def _digest(digests: set[str]) -> str:
    return _sha256("\n".join(sorted(digests)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def choose_category(dataset: str, root: Path | None, category: str) -> list[str]:
    """One category, or all of them for `all`.

    Raises:
        InputDataError: there is none of that name.
    """
    known = categories_of(dataset, root)
    if category == "all":
        return known
    if category not in known:
        raise InputDataError(f"--category {category}: {dataset} has none of that name here.{suggest(category, known)}")
    return [category]
