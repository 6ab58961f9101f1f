"""Sentence pairs: does the second text follow from the first?"""

from nlptl import Task


class Pairs(Task):
    """Does one text follow from another?"""

    name = "pairs"
    fields = ("first", "second")
