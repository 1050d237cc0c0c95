"""What is to be made: a recipe, from a YAML file or from the command line, checked before any work is done."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from synthgen.anomalies.contract import Strength, Style, TypeSettings
from synthgen.anomalies.registry import AUTO, SURFACE_TYPES, TYPES, canonical_type
from synthgen.datasets import dataset_info
from synthgen.errors import SynthgenError, UsageError, suggest
from synthgen.foreground import check_mode
from synthgen.painting.surface import MATERIALS, UNKNOWN
from synthgen.refine.refiner import NONE, canonical_stage
from synthgen.samples import Size

SMALLEST_SIDE, LARGEST_SIDE = 16, 4096


def _material(name: str | None) -> str | None:
    if name is not None and name not in MATERIALS:
        raise ValueError(f"{name!r} is not one of {', '.join(MATERIALS)}")
    return name


Material = Annotated[str | None, AfterValidator(_material)]
PerImage = Annotated[int, Field(ge=1, le=1000)]


Weight = Annotated[float, Field(ge=0, le=1000)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TypeRecipe(BaseModel):
    """One anomaly type in a recipe. Any other field is one of the type's own settings, such as `size_range`.

    Attributes:
        per_image: samples of this type per normal image; None takes the dataset's or the recipe's number.
        weight: makes the types a mixture: how often this one is drawn relative to the others; `auto` leaves it to the
            category.
        style, strength: instead of the recipe's.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    per_image: PerImage | None = None
    weight: Weight | Literal["auto"] | None = None
    style: Style | None = None
    strength: Strength | None = None


class DatasetRecipe(_Strict):
    """One dataset in a recipe.

    Attributes:
        categories: which ones; None for all.
        per_image: samples per normal image and type; None takes the recipe's number.
        material: of all its categories, instead of what is known about them.
        bit_depth: how many of a 16-bit file's bits hold data (cameras of 12 bits write 4095 for white).
        normals: how many normal images each category must have; a build that finds fewer does not begin.
        leave_out: `category/type` -> how many samples not to make, from the end (a published set may lack some).
        mixtures: category -> surface type -> weight: what is known of how often each occurs there, instead of what the
            dataset's manifest knows. It decides most of the category's mixture; its surface decides the rest, so that a
            defect that nobody has met yet is learned too.
        from_real: folder of real defects for the type `real` to copy; of several categories, with a folder for each.
    """

    categories: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    per_image: PerImage | None = None
    material: Material = None
    bit_depth: Annotated[int, Field(ge=8, le=16)] = 16
    normals: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    leave_out: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    mixtures: dict[str, dict[str, Weight]] = Field(default_factory=dict)
    from_real: str | None = None

    @field_validator("mixtures")
    @classmethod
    def _surface_types(cls, value: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        named = {}
        for category, weights in value.items():
            named[category] = {_as_value_error(canonical_type, name): weight for name, weight in weights.items()}
            if edits := [name for name in named[category] if name not in SURFACE_TYPES]:
                raise ValueError(f"{category}: {edits[0]} is no surface type; `auto` weighs these alone")
            if not any(weights.values()):
                raise ValueError(f"{category}: no type has a weight above 0")
        return named


class Recipe(_Strict):
    """Everything that decides the samples, and how they are stored.

    Attributes:
        kind: says what the file is.
        name: for people.
        datasets: where the normal images come from, by dataset name.
        types: what is made of them, by type name. In a file, `auto` in place of them (or as one of them) makes a mixture of
            all types, those that suit a category more often: `per_image` samples of each normal image, each of a type drawn
            by weight. That is also what is made where no types are named.
        per_image: samples per normal image and type; of a mixture, per normal image.
        share: share of each category's normal images to use, picked by the hash of their names; a smaller share is a part
            of a larger one.
        size: (height, width) of the samples in pixels; one number for a square.
        seed: any whole number from 0 on; another seed gives other samples.
        style: `realistic`, or `paper` for the pseudocode.
        strength: preset of sizes and contrasts: `subtle`, `normal` or `strong`.
        foreground: `auto`, `object`, `sam` (whose checkpoint is no part of the recipe) or `none`.
        refine: `none`, `phase-field`, `npcf` or `npcf++`, for the surface types; the networks are no part of the recipe.
            `auto` goes as far as there are networks.
        mixture: what `auto` goes by: `known`, what is known of a category (its dataset's manifest knows most public ones by
            the published names of their test defects) and its surface; or `surface`, that alone.
        layout: of the shards, `delta` or `dense`.
        base_compression: `gzip` makes the shards smaller and slower to read.
        samples_per_shard: most samples of a shard.
        max_rejected: largest share of samples without an accepted draw; beyond it a build ends with exit status 6.
    """

    kind: Literal["recipe"] = "recipe"
    name: str = "custom"
    datasets: dict[str, DatasetRecipe] = Field(min_length=1)
    types: dict[str, TypeRecipe] = Field(
        default_factory=lambda: dict.fromkeys(SURFACE_TYPES, TypeRecipe(weight=AUTO)), min_length=1
    )
    per_image: PerImage = 3
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    size: Size = (512, 512)
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    style: Style = "realistic"
    strength: Strength = "normal"
    foreground: str = "auto"
    refine: str = AUTO
    mixture: Literal["known", "surface"] = "known"
    layout: Literal["delta", "dense"] = "delta"
    base_compression: Literal["none", "gzip"] = "none"
    samples_per_shard: Annotated[int, Field(ge=1, le=100_000)] = 1024
    max_rejected: Annotated[float, Field(ge=0, le=1)] = 0.02

    @model_validator(mode="after")
    def _mixture_leaves_nothing_out(self) -> "Recipe":
        if self.mixed and any(dataset.leave_out for dataset in self.datasets.values()):
            raise ValueError("leave_out: a mixture leaves nothing out; name the types instead of `auto`")
        return self

    @model_validator(mode="after")
    def _known_weights_need_auto(self) -> "Recipe":
        auto = any(type_recipe.weight == AUTO for type_recipe in self.types.values())
        if not auto and any(dataset.mixtures for dataset in self.datasets.values()):
            raise ValueError("mixtures: only `types: auto` asks what is known of a category; leave the types away")
        if self.mixture == "surface" and any(dataset.mixtures for dataset in self.datasets.values()):
            raise ValueError("mixture: `surface` goes by no weights, and there are some of your own; leave out one of them")
        return self

    @model_validator(mode="after")
    def _copies_need_defects(self) -> "Recipe":
        real = [name for name in self.types if TYPES[name].copies_real]
        given = [name for name, dataset in self.datasets.items() if dataset.from_real is not None]
        if real and not given:
            raise ValueError(f"types: `{real[0]}` copies real defects; give their folder (--from-real DIR, `from_real`)")
        if given and not real:
            raise ValueError(f"from_real: no type copies real defects; add `real` to the types, or leave {given[0]}'s out")
        return self

    @model_validator(mode="after")
    def _generated_normals_need_rows(self) -> "Recipe":
        if self.layout == "dense" and any(
            (type_recipe.model_extra or {}).get("mode") == "paper" for type_recipe in self.types.values()
        ):
            raise ValueError("layout: `dense` has no place for the generated normal images of `mode: paper`; use `delta`")
        return self

    @property
    def edits_edges(self) -> bool:
        """Whether a type edits edges, and a generator is needed."""
        return any(TYPES[name].edits_edges for name in self.types)

    @field_validator("size", mode="before")
    @classmethod
    def _square(cls, value: Any) -> Any:
        return (value, value) if isinstance(value, int) else value

    @field_validator("size")
    @classmethod
    def _sides(cls, value: Size) -> Size:
        if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in value):
            raise ValueError(f"sides from {SMALLEST_SIDE} to {LARGEST_SIDE} pixels are possible")
        return value

    @field_validator("datasets", mode="before")
    @classmethod
    def _named_datasets(cls, value: Any) -> Any:
        return _mapping(value)

    @field_validator("datasets")
    @classmethod
    def _known_datasets(cls, value: dict[str, DatasetRecipe]) -> dict[str, DatasetRecipe]:
        for name in value:
            _as_value_error(dataset_info, name)
        return value

    @field_validator("types", mode="before")
    @classmethod
    def _plain_types(cls, value: Any) -> Any:
        """Aliases replaced, and `auto` written out."""
        value = _mapping([value] if isinstance(value, str) else value)
        if not isinstance(value, dict):
            return value
        auto = AUTO in value
        value = {name: settings for name, settings in value.items() if name != AUTO}
        plain = {_as_value_error(canonical_type, str(name)): settings for name, settings in value.items()}
        if len(plain) < len(value):
            raise ValueError("the same type is named twice")
        if auto:
            if edits := [name for name in plain if name not in SURFACE_TYPES and not TYPES[name].copies_real]:
                raise ValueError(
                    f"{edits[0]}: `auto` mixes the surface types alone; give every type a weight, or build it by itself"
                )
            real = [name for name in plain if TYPES[name].copies_real]
            return {name: _weighted(plain.get(name) or {}) for name in [*SURFACE_TYPES, *real]}
        return plain

    @field_validator("types")
    @classmethod
    def _all_or_no_weights(cls, value: dict[str, TypeRecipe]) -> dict[str, TypeRecipe]:
        weights = [type_recipe.weight for type_recipe in value.values()]
        if any(weight is not None for weight in weights):
            if any(weight is None for weight in weights):
                raise ValueError("either all types have a `weight`, or none of them, or `auto` is one of them")
            if not any(weights):
                raise ValueError("every weight is 0: nothing would be made")
            if edits := [name for name, type_recipe in value.items() if type_recipe.weight == AUTO and TYPES[name].edits_edges]:
                raise ValueError(f"{edits[0]}: `auto` weighs the surface types alone; give it a number as `weight`")
            fixed = [name for name, type_recipe in value.items() if type_recipe.per_image is not None]
            if fixed:
                raise ValueError(f"{fixed[0]}: in a mixture a type has a `weight` instead of `per_image`")
        return value

    @field_validator("foreground")
    @classmethod
    def _known_foreground(cls, value: str) -> str:
        _as_value_error(check_mode, value)
        return value

    @field_validator("refine")
    @classmethod
    def _known_refinement(cls, value: str) -> str:
        return str(_as_value_error(canonical_stage, value))

    def settings(self, type_name: str) -> TypeSettings:
        """The settings that one type draws from.

        Raises:
            pydantic.ValidationError: the recipe sets something that the type does not have or that makes no sense.
        """
        type_recipe = self.types[type_name]
        style, strength = type_recipe.style or self.style, type_recipe.strength or self.strength
        settings: TypeSettings = TYPES[type_name].configure(style, strength, **(type_recipe.model_extra or {}))
        return settings

    def replicas(self, dataset: str, type_name: str) -> int:
        """Samples per normal image of this dataset and type."""
        return self.types[type_name].per_image or self.datasets[dataset].per_image or self.per_image

    @property
    def mixed(self) -> bool:
        """Whether the types are a mixture."""
        return any(type_recipe.weight is not None for type_recipe in self.types.values())

    def samples_per_normal(self, dataset: str) -> int:
        """Samples of a mixture per normal image of this dataset."""
        return self.datasets[dataset].per_image or self.per_image

    def known_material(self, dataset: str, category: str) -> str | None:
        """What a category is known to be made of; None where its dataset's default is only a guess."""
        listed = category in dataset_info(dataset).categories
        return self.datasets[dataset].material or (dataset_info(dataset).category(category).material if listed else None)

    def material(self, dataset: str, category: str) -> str:
        """What a category is made of; `any` where nobody knows."""
        return self.known_material(dataset, category) or UNKNOWN

    def known_mixture(self, dataset: str, category: str) -> Mapping[str, float]:
        """Weights of surface types that are known of a category, by the user or by its dataset's manifest; empty for none."""
        if self.mixture == "surface":
            return {}
        return self.datasets[dataset].mixtures.get(category) or dataset_info(dataset).category(category).mixture

    def resolved(self) -> dict[str, Any]:
        """All that decides the bytes of a build, with every default written out, as JSON types."""
        whole: dict[str, Any] = self.model_dump(mode="json", exclude={"name", "types", "max_rejected"})
        for dataset in whole["datasets"].values():
            del dataset["normals"]  # a condition for building, not a part of what is built
            if dataset["from_real"] is None:
                del dataset["from_real"]  # as before there was such a type
            else:
                dataset["from_real"] = ""  # the files in it decide, not where it lies
            if not dataset["mixtures"]:
                del dataset["mixtures"]  # a dataset without is what it was before there were any
        if self.mixture == "known":
            del whole["mixture"]  # likewise
        if self.refine in (NONE, AUTO):
            del whole["refine"]  # a dataset without is what it was before there was refinement
        whole["types"] = {
            name: {
                "generator": TYPES[name].generator,
                "per_image": self.types[name].per_image,
                "weight": self.types[name].weight,
                "settings": self.settings(name).model_dump(mode="json"),
            }
            for name in self.types
        }
        return whole


def recipe_from_resolved(config: dict[str, Any]) -> Recipe:
    """The recipe that `Recipe.resolved` described: what a finished dataset knows about its own making."""
    values = {name: config[name] for name in Recipe.model_fields if name in config and name != "types"}
    types = {
        name: {"per_image": entry["per_image"], "weight": entry["weight"], **entry["settings"]}
        for name, entry in config["types"].items()
    }
    return make_recipe(values | {"types": types})


def make_recipe(values: dict[str, Any], where: dict[tuple[str, ...], str] | None = None, source: str = "") -> Recipe:
    """A checked recipe from plain values.

    Args:
        values: fields of `Recipe`.
        where: what to call a field in an error (a line, an option), by its place in `values`.
        source: what to call the whole in an error, such as the file's name.

    Raises:
        UsageError: with one line for each thing that is wrong.
    """
    try:
        recipe = Recipe.model_validate(values)
        for name in recipe.types:
            try:
                recipe.settings(name)
            except ValidationError as error:
                raise UsageError(_explain(error, where or {}, source, ("types", name), TYPES[name].settings)) from None
    except ValidationError as error:
        raise UsageError(_explain(error, where or {}, source, (), Recipe)) from None
    return recipe


def _explain(
    error: ValidationError, where: dict[tuple[str, ...], str], source: str, prefix: tuple[str, ...], model: type[BaseModel]
) -> str:

    lines = []
    for problem in error.errors():
        place = (*prefix, *(str(part) for part in problem["loc"]))
        named = next((place[:n] for n in range(len(place), 0, -1) if place[:n] in where), ())
        text = _plain_text(problem["type"], problem["msg"])
        if problem["type"] == "extra_forbidden":
            fields = list(model.model_fields) if len(place) == len(prefix) + 1 else list(DatasetRecipe.model_fields)
            if prefix:  # a type's own settings stand beside those that every type has
                fields = [*TypeRecipe.model_fields, *fields]
            text = f"there is no such setting.{suggest(place[-1], fields)}"
        # an option or a line says which field it is; what lies deeper in it is named too
        within = ".".join(place[len(named) :] if where.get(named, "").startswith("--") else place)
        lines.append(": ".join(part for part in (where.get(named, source), within, text) if part))
    return "\n".join(lines)


def _plain_text(kind: str, message: str) -> str:
    """What pydantic says, in the words of someone who writes a recipe."""
    if kind == "tuple_type":
        return "expected two numbers, such as 2,6 or [2, 6]"
    return message.removeprefix("Value error, ")


def _mapping(value: Any) -> Any:
    """A list of names is as good as a mapping of them to nothing, and nothing as good as no settings."""
    if isinstance(value, list | tuple):
        if not all(isinstance(name, str) for name in value):
            raise ValueError("expected names; settings go under a name: `crack: {per_image: 2}`")
        if len(set(value)) < len(value):
            raise ValueError("the same name is there twice")
        value = dict.fromkeys(value)
    if isinstance(value, dict):
        return {name: {} if settings is None else settings for name, settings in value.items()}
    return value


def _weighted(settings: Any) -> Any:
    """Settings of a type in a mixture: unless they say otherwise, its weight is left to the category."""
    return {"weight": AUTO} | settings if isinstance(settings, dict) else settings


def _as_value_error(check: Any, value: str) -> Any:
    """`check(value)`, its SynthgenError as the ValueError that pydantic collects."""
    try:
        return check(value)
    except SynthgenError as error:
        raise ValueError(str(error)) from error


def canonical_json(values: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
