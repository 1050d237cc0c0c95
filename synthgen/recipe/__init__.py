"""What is to be made: recipes, their files, and how often each type is made of a category."""

from synthgen.recipe.file import load_recipe, recipe_names
from synthgen.recipe.recipe import DatasetRecipe, Recipe, TypeRecipe, canonical_json, make_recipe, recipe_from_resolved

__all__ = [
    "DatasetRecipe",
    "Recipe",
    "TypeRecipe",
    "canonical_json",
    "load_recipe",
    "make_recipe",
    "recipe_from_resolved",
    "recipe_names",
]
