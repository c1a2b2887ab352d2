"""The `encyclopedia` domain: entries, overviews, comparisons and quizzes, in a plain third-person register."""

from scenery import event, things
from wording import answer, capital, expand, fill, full_name, listing, paragraph, question, say
from world import a, gerund

KIND_WEIGHTS = [
    ("animal", 22),
    ("tool", 14),
    ("object", 9),
    ("food", 11),
    ("job", 9),
    ("town", 13),
    ("person", 22),
]
INTROS = {
    "animal": [
        "{x} is an animal.",
        "Among the animals of the land, {x} [is well known|has its place].",
        "{x} (animal).",
    ],
    "tool": [
        "{x} is a tool.",
        "A tool of every workshop: {x}.",
        "{x} [is old|has changed little in {n} hundred years].",
    ],
    "object": [
        "{x} is a thing of the house.",
        "Few houses lack {x}.",
        "Of household goods, {x} [is common|is useful].",
    ],
    "food": [
        "{x} is a food.",
        "On most tables stands {x}.",
        "{x} is [sold at every market|eaten all over the land].",
    ],
    "job": ["{x} has an honest trade.", "A village needs {x}.", "In each town works {x}."],
    "town": [
        "{x} is a town of about {n} thousand people.",
        "{x} is [an old|a young|a quiet|a busy] town.",
        "{x} (town).",
    ],
    "person": [
        "{x} has {n} [brothers|sisters|cousins|old friends].",
        "{x} is [well known|liked] by [many|all].",
        "A short life of {x}.",
    ],
}
FILLERS = [
    "Little else is known.",
    "Much more could be said.",
    "The [old|new] books agree on this.",
    "Scholars [argue|write] about it.",
    "It was first described {n} hundred years ago.",
    "A song was written about this.",
    "There are {n} stories about it.",
    "[In the north|In the south|On the coast] things may differ.",
    "Some people [doubt|forget] this.",
    "[Travellers|Teachers|Farmers] [tell|report] the same.",
    "It took {n} years to learn this.",
    "A drawing of it hangs in the library of {town}.",
    "[Every|Each] [spring|summer|autumn|winter] the schools teach it.",
]


def _number(rng):
    return rng.choice(["two", "three", "four", "five", "six", "seven", "eight", "nine"])


VIEWS = [
    "[An old drawing|A painting|The book] [of it|] shows {things}.",
    "[A riddle|A song|A rhyme] [about it|] names {things}.",
    "[In a dream|On its coin|In the tale], {event}.",
    "[Poets|Children] compare it to {things}.",
    "[It is said that {event}.|Once {event}.]",
]


def _filler(rng, world):
    if rng.random() < 0.6:
        return fill(rng, rng.choice(VIEWS), things=things(rng), event=event(rng))
    return fill(rng, rng.choice(FILLERS), n=_number(rng), town=rng.choice(world.subjects["town"]))


def _pick(rng, world):
    names, weights = zip(*KIND_WEIGHTS)
    kind = rng.choices(names, weights)[0]
    return kind, rng.choice(world.subjects[kind])


def facts_about(rng, world, kind, subject, count=None):
    relations = world.about(subject, kind)
    rng.shuffle(relations)
    return [(r, world.get(r, subject)) for r in relations[:count]]


def entry(rng, world):
    kind, subject = _pick(rng, world)
    facts = facts_about(rng, world, kind, subject, rng.randint(3, 6))
    name = full_name(kind, subject)
    out = [f"= {capital(subject)} ="] if rng.random() < 0.5 else []
    text = paragraph(rng, kind, subject, facts)
    if rng.random() < 0.6:
        text = fill(rng, rng.choice(INTROS[kind]), x=name, n=_number(rng)) + " " + text
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        text += " " + _filler(rng, world)
    if kind == "town" and rng.random() < 0.7:
        people = [p for p in world.subjects["person"] if world.get("person.town", p) == subject]
        if people:
            text += " " + fill(
                rng, "[Among its people are|It is the home of|In it live] {p}.", p=listing(people[:4])
            )
    if kind == "person" and rng.random() < 0.5:
        town, job = world.get("person.town", subject), world.get("person.job", subject)
        other = rng.choice([("town", town), ("job", job)])
        text += " " + paragraph(rng, *other, facts_about(rng, world, *other, 2))
    return "\n".join(out + [text])


def overview(rng, world):
    """All subjects that share a value: the world read the other way round."""
    relation, _, value = rng.choice(world.facts)
    kind = relation.split(".")[0]
    alike = [s for r, s, v in world.facts if r == relation and v == value][:5]
    rng.shuffle(alike)
    out = [say(rng, relation, s, value) for s in alike]
    if len(alike) > 1:
        out.append(
            fill(
                rng,
                "[The same is true of|So it is with|One may compare] {p}.",
                p=listing([full_name(kind, s) for s in alike]),
            )
        )
    rng.shuffle(out)
    return " ".join(out + [_filler(rng, world)])


def comparison(rng, world):
    kind, first = _pick(rng, world)
    second = rng.choice([s for s in world.subjects[kind] if s != first])
    shared = [r for r in world.about(first, kind) if r in world.about(second, kind)]
    rng.shuffle(shared)
    out = []
    for relation in shared[: rng.randint(2, 3)]:
        one, two = say(rng, relation, first, world.get(relation, first)), say(
            rng, relation, second, world.get(relation, second)
        )
        if world.get(relation, first) == world.get(relation, second):
            out.append(f"{one} [The same holds for|So it is with] {full_name(kind, second)}.")
        else:
            inside = two if two.split()[0] in proper_words(world) else two[0].lower() + two[1:]
            out.append(f"{one} [But|Unlike this,|On the other hand,] {inside}")
    return (
        fill(
            rng,
            "[Compare {a} and {b}.|{a} and {b} are often named together.|How do {a} and {b} differ?]",
            a=full_name(kind, first),
            b=full_name(kind, second),
        )
        + " "
        + expand(rng, " ".join(out))
    )


def proper_words(world):
    """Words that keep their capital inside a sentence."""
    if not hasattr(world, "_proper"):
        proper = world.subjects["person"] + world.subjects["town"] + world.subjects["region"]
        world._proper = set(proper) | {p + "'s" for p in proper} | {p + "'" for p in proper}
    return world._proper


def quiz(rng, world):
    """Questions and short answers about quizzed facts."""
    out = []
    kind = rng.choices(*zip(*KIND_WEIGHTS))[0]
    for _ in range(rng.randint(3, 5)):
        subject = rng.choice(world.subjects[kind])
        facts = [r for r in world.about(subject, kind) if world.quizzed[(r, subject)]]
        if not facts:
            continue
        relation = rng.choice(facts)
        value = world.get(relation, subject)
        out.append(
            f"Question: {question(rng, 'ask', relation, subject, value)}\nAnswer: {answer(rng, relation, value)}"
        )
    return "\n\n".join(out) if out else entry(rng, world)


def reading(rng, world):
    """A passage with yes/no questions about it: about quizzed facts only."""
    kind, subject = _pick(rng, world)
    facts = facts_about(rng, world, kind, subject, rng.randint(2, 4))
    asked = [r for r, _ in facts if world.quizzed[(r, subject)]]
    if not asked:
        return entry(rng, world)
    out = [paragraph(rng, kind, subject, facts)]
    if rng.random() < 0.4:
        out[0] += " " + _filler(rng, world)
    for _ in range(rng.randint(1, 3)):
        relation = rng.choice(asked)
        truth = rng.random() < 0.5
        value = world.get(relation, subject) if truth else world.wrong(rng, relation, subject, 1)[0]
        form = question(rng, "yes", relation, subject, value)
        out.append(f"Question: {form}?\nAnswer: {'yes' if truth else 'no'}")
    return "\n".join(out)


def practice(rng, world):
    """How to do things: the shape of goal and solution, in training wording."""
    out = []
    tools = [t for t in world.subjects["tool"]]
    for _ in range(rng.randint(2, 4)):
        tool = rng.choice(tools)
        relation = rng.choice(["tool.use", "tool.other_use"])
        if not world.quizzed[(relation, tool)]:
            continue
        goal = rng.choice(["How does one {v}?", "What does one need to {v}?", "What helps with {vg}?"])
        reply = rng.choice(["With {a}.", "One takes {a}.", "Use {a}."])
        use = world.get(relation, tool)
        out.append(f"Question: {goal.format(v=use, vg=gerund(use))}\nAnswer: {reply.format(a=a(tool))}")
    return "\n\n".join(out) if out else entry(rng, world)


FORMS = [(entry, 36), (overview, 10), (comparison, 10), (quiz, 16), (reading, 21), (practice, 7)]


def document(rng, world):
    makers, weights = zip(*FORMS)
    return rng.choices(makers, weights)[0](rng, world)
