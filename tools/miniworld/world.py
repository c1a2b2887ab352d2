"""The facts of miniworld: a small closed world whose facts never contradict each other.

A fact is (relation, subject, value), e.g. ("animal.habitat", "otter", "river"). Facts about things are
written down here by hand; facts about people and towns are drawn once from the world's seed. Everything
else in this directory only words these facts. Where a value depends on another one, it is derived here (an
animal's covering from its kind, a tool's owner from the job that uses it), so that text and tasks agree by
construction.
"""

import random

from things import (
    ANIMALS,
    COVER,
    TOOLS,
    OBJECTS,
    FOODS,
    JOBS,
    TOWNS,
    REGIONS,
    RIVERS,
    LANDMARKS,
    PRODUCTS,
    SETTINGS,
    WOMEN,
    MEN,
    PETS,
    COLOURS,
    HOBBIES,
    GERUNDS,
)

WORLD_SEED = 2024


def a(noun):
    """The noun with its indefinite article; plural-looking tools take "a pair of"."""
    if noun in ("scales", "shears", "bellows"):
        return "a pair of " + noun
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun


def gerund(phrase):
    """ "dig holes" -> "digging holes"."""
    verb, rest = phrase.split(" ", 1)
    return GERUNDS.get(verb, verb + "ing") + " " + rest


def spread(rng, values, count):
    """`count` draws in which every value occurs about equally often."""
    bag = []
    while len(bag) < count:
        round_ = list(values)
        rng.shuffle(round_)
        bag += round_
    return bag[:count]


class World:
    """All facts, with indexes. `facts` is a list of (relation, subject, value) in a fixed order."""

    def __init__(self, seed=WORLD_SEED):
        rng = random.Random(seed)
        self.facts = []
        self.subjects = {
            "animal": list(ANIMALS),
            "tool": list(TOOLS),
            "object": list(OBJECTS),
            "food": list(FOODS),
            "job": list(JOBS),
            "town": list(TOWNS),
            "region": list(REGIONS),
            "person": WOMEN + MEN,
        }
        for name, (kind, habitat, eats, colour, size) in ANIMALS.items():
            self._add(
                "animal",
                name,
                kind=kind,
                habitat=habitat,
                eats=eats,
                colour=colour,
                size=size,
                cover=COVER[kind],
            )
        users = {tool: job for job, (_, _, tool) in JOBS.items()}
        for name, (uses, material) in TOOLS.items():
            self._add("tool", name, use=uses[0], other_use=uses[1], material=material)
            if name in users:
                self._add("tool", name, user=users[name])
        for name, (material, room) in OBJECTS.items():
            self._add("object", name, material=material, room=room)
        for name, (taste, colour, source) in FOODS.items():
            self._add("food", name, taste=taste, colour=colour, source=source)
        for name, (place, makes, tool) in JOBS.items():
            self._add("job", name, place=place, makes=makes, tool=tool)
        self._draw_towns(rng)
        self._draw_people(rng)
        self.value = {(relation, subject): value for relation, subject, value in self.facts}
        self.values = {}
        for relation, _, value in self.facts:
            self.values.setdefault(relation, [])
            if value not in self.values[relation]:
                self.values[relation].append(value)
        # A fact that is "quizzed" may appear in question-and-answer form in training text (in training wording);
        # the others are only ever stated in prose, dialogue or code. Tasks ask about the others.
        self.quizzed = {fact[:2]: rng.random() < 0.6 for fact in self.facts}

    def _add(self, group, subject, **values):
        for name, value in values.items():
            self.facts.append((f"{group}.{name}", subject, value))

    def _draw_towns(self, rng):
        regions, rivers = spread(rng, REGIONS, len(TOWNS)), spread(rng, RIVERS, len(TOWNS))
        marks, products = spread(rng, LANDMARKS, len(TOWNS)), spread(rng, PRODUCTS, len(TOWNS))
        settings = spread(rng, SETTINGS, len(TOWNS))
        for i, town in enumerate(TOWNS):
            self._add(
                "town",
                town,
                region=regions[i],
                river=rivers[i],
                landmark=marks[i],
                product=products[i],
                setting=settings[i],
            )
        for region in REGIONS:
            self._add(
                "region", region, capital=rng.choice([t for i, t in enumerate(TOWNS) if regions[i] == region])
            )

    def _draw_people(self, rng):
        people = WOMEN + MEN
        columns = {
            "town": TOWNS,
            "job": list(JOBS),
            "pet": PETS,
            "food": list(FOODS),
            "colour": COLOURS,
            "hobby": HOBBIES,
        }
        drawn = {name: spread(rng, values, len(people)) for name, values in columns.items()}
        for name in drawn:
            rng.shuffle(drawn[name])
        for i, person in enumerate(people):
            self._add("person", person, **{name: column[i] for name, column in drawn.items()})

    def get(self, relation, subject):
        return self.value[(relation, subject)]

    def about(self, subject, kind):
        """The relations that hold for a subject of a kind, in a fixed order."""
        return [r for r, s, _ in self.facts if s == subject and r.startswith(kind + ".")]

    def wrong(self, rng, relation, subject, count):
        """`count` different values of the relation that are false for this subject."""
        right = {self.get(relation, subject)}
        if relation in ("tool.use", "tool.other_use"):
            right = {self.get("tool.use", subject), self.get("tool.other_use", subject)}
        pool = [v for v in self.values[relation] if v not in right]
        return rng.sample(pool, count)

    @staticmethod
    def pronoun(person):
        """(subject, object, possessive) pronouns."""
        return ("she", "her", "her") if person in WOMEN else ("he", "him", "his")
