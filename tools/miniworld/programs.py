"""The `code` domain: short programs in a Python-like language, on numbers and on the world's facts.

Whatever a comment or an assert claims is true: results are computed here by the same arithmetic.
"""

from scenery import label

NAMES = ["x", "n", "count", "total", "size", "price", "width", "height", "age", "steps", "weight", "score"]
VERBS = ["get", "find", "look_up", "fetch", "read"]
LISTS = ["items", "names", "result", "found", "rows", "words"]


def _pairs(rng, world, relation, count):
    rows = [(s, v) for r, s, v in world.facts if r == relation]
    return rng.sample(rows, min(count, len(rows)))


def _relation(rng, world):
    relation = rng.choice(sorted(world.values))
    return relation, relation.replace(".", "_")


def table(rng, world):
    """A dictionary of facts and lookups in it."""
    relation, name = _relation(rng, world)
    pairs = _pairs(rng, world, relation, rng.randint(3, 7))
    out = [f"{name} = {{"] + [f'    "{s}": "{v}",' for s, v in pairs] + ["}"]
    for s, v in rng.sample(pairs, min(len(pairs), rng.randint(1, 3))):
        out.append(
            rng.choice(
                [
                    f'assert {name}["{s}"] == "{v}"',
                    f'print({name}["{s}"])  # {v}',
                    f'if "{s}" in {name}:\n    print({name}.get("{s}"))  # {v}',
                ]
            )
        )
    if rng.random() < 0.5:
        value = rng.choice(pairs)[1]
        matching = [s for s, v in pairs if v == value]
        variable = rng.choice(LISTS)
        out += [
            f'{variable} = [key for key in {name} if {name}[key] == "{value}"]',
            f"assert {variable} == {matching!r}".replace("'", '"'),
            f"print(len({variable}))  # {len(matching)}",
        ]
    return "\n".join(out)


def lookup(rng, world):
    """A function over facts, with a docstring and tests."""
    relation, name = _relation(rng, world)
    verb, argument = rng.choice(VERBS), relation.split(".")[0]
    pairs = _pairs(rng, world, relation, rng.randint(2, 4))
    other = rng.choice(["None", '"unknown"', '""'])
    out = [
        f"def {verb}_{name}({argument}):",
        f'    """Return the {relation.split(".")[1]} of the {argument}."""',
    ]
    for s, v in pairs:
        out += [f'    if {argument} == "{s}":', f'        return "{v}"']
    out += [f"    return {other}", ""]
    for s, v in rng.sample(pairs, min(2, len(pairs))):
        out.append(
            rng.choice([f'assert {verb}_{name}("{s}") == "{v}"', f'print({verb}_{name}("{s}"))  # {v}'])
        )
    return "\n".join(out)


def record(rng, world):
    """A class for a kind of thing and one or two objects of it."""
    kind = rng.choice(["animal", "tool", "food", "town", "person", "object", "job"])
    fields = world.about(world.subjects[kind][0], kind)
    if kind == "tool":
        fields = ["tool.use", "tool.material"]
    fields = rng.sample(fields, min(len(fields), rng.randint(2, 3)))
    short = [f.split(".")[1] for f in fields]
    out = [
        f"class {kind.capitalize()}:",
        f"    def __init__(self, name, {', '.join(short)}):",
        "        self.name = name",
    ]
    out += [f"        self.{s} = {s}" for s in short]
    if rng.random() < 0.5:
        pick = rng.choice(short)
        out += ["", "    def describe(self):", f'        return self.name + " " + self.{pick}']
    out.append("")
    for subject in rng.sample(world.subjects[kind], rng.randint(1, 2)):
        values = [world.get(f, subject) for f in fields]
        out.append(
            f'{subject.lower()} = {kind.capitalize()}("{subject}", '
            + ", ".join(f'"{v}"' for v in values)
            + ")"
        )
        i = rng.randrange(len(short))
        out.append(
            rng.choice(
                [
                    f'assert {subject.lower()}.{short[i]} == "{values[i]}"',
                    f"print({subject.lower()}.{short[i]})  # {values[i]}",
                ]
            )
        )
    return "\n".join(out)


def arithmetic(rng, world):
    """A numeric function and calls with their results."""
    x, y = rng.sample(NAMES, 2)
    k = rng.randint(2, 9)
    forms = [
        (f"add_{k}", [x], f"{x} + {k}", lambda p: p + k),
        (f"times_{k}", [x], f"{k} * {x}", lambda p: k * p),
        ("area", [x, y], f"{x} * {y}", lambda p, q: p * q),
        ("sum_of", [x, y], f"{x} + {y}", lambda p, q: p + q),
        ("difference", [x, y], f"{x} - {y}", lambda p, q: p - q),
        ("larger", [x, y], f"max({x}, {y})", max),
        ("smaller", [x, y], f"min({x}, {y})", min),
        ("square", [x], f"{x} * {x}", lambda p: p * p),
        (f"is_over_{k}", [x], f"{x} > {k}", lambda p: p > k),
        (f"remainder_{k}", [x], f"{x} % {k}", lambda p: p % k),
    ]
    name, arguments, body, function = rng.choice(forms)
    out = [f"def {name}({', '.join(arguments)}):", f"    return {body}", ""]
    for _ in range(rng.randint(1, 4)):
        given = [rng.randint(0, 12) for _ in arguments]
        call = f"{name}({', '.join(map(str, given))})"
        out.append(
            rng.choice([f"print({call})  # {function(*given)}", f"assert {call} == {function(*given)}"])
        )
    return "\n".join(out)


def loop(rng, world):
    """A loop over a list of words or numbers."""
    kind = rng.choice(["animal", "food", "town", "tool", "person"])
    items, item, variable = rng.sample(world.subjects[kind], rng.randint(2, 5)), kind, rng.choice(LISTS)
    counter = rng.choice(["total", "count", "n", "i"])
    out = [f"{variable} = [" + ", ".join(f'"{i}"' for i in items) + "]"]
    form = rng.randrange(4)
    if form == 0:
        out += [
            f"{counter} = 0",
            f"for {item} in {variable}:",
            f"    {counter} += len({item})",
            f"print({counter})  # {sum(map(len, items))}",
        ]
    elif form == 1:
        out += [f"for {counter}, {item} in enumerate({variable}):", f"    print({counter}, {item})"]
        out += [f"# {i} {item_}" for i, item_ in enumerate(items)]
    elif form == 2:
        out += [
            f"{variable}.sort()",
            f'assert {variable}[0] == "{min(items)}"',
            f'assert {variable}[-1] == "{max(items)}"',
        ]
    else:
        extra = rng.choice([s for s in world.subjects[kind] if s not in items])
        out += [
            f'{variable}.append("{extra}")',
            f"assert len({variable}) == {len(items) + 1}",
            f"print({variable}[{len(items)}])  # {extra}",
            f'{variable}.remove("{items[0]}")',
            f"print({variable}[0])  # {(items + [extra])[1]}",
        ]
    return "\n".join(out)


def state(rng, world):
    """Assignments one after another; the comments say what a variable holds."""
    names = rng.sample(NAMES, 2)
    values = {n: rng.randint(1, 12) for n in names}
    out = [f"{n} = {v}" for n, v in values.items()]
    for _ in range(rng.randint(2, 5)):
        n, m = rng.sample(names, 2)
        k = rng.randint(1, 6)
        form = rng.randrange(4)
        if form == 0:
            out.append(f"{n} += {k}")
            values[n] += k
        elif form == 1:
            out.append(f"{n} = {m}")
            values[n] = values[m]
        elif form == 2 and values[n] > k:
            out.append(f"{n} -= {k}")
            values[n] -= k
        else:
            out.append(f"if {n} > {m}:\n    {m} = {n}")
            values[m] = max(values[m], values[n])
        if rng.random() < 0.7:
            out.append(f"print({n})  # {values[n]}")
    return "\n".join(out)


def stock(rng, world):
    """Assignments to names drawn at random, a list of numbers and what follows from it."""
    names = sorted({label(rng) for _ in range(rng.randint(2, 5))})
    numbers = [rng.randint(0, 99) for _ in names]
    rng.shuffle(names)
    out = [f"{n} = {v}" for n, v in zip(names, numbers)]
    variable = rng.choice(LISTS)
    out.append(f"{variable} = [" + ", ".join(names) + "]")
    out.append(f"assert len({variable}) == {len(names)}")
    if rng.random() < 0.5:
        out.append(f"assert max({variable}) == {max(numbers)}")
    i = rng.randrange(len(names))
    out.append(rng.choice([f"print({names[i]})  # {numbers[i]}", f"assert {variable}[{i}] == {numbers[i]}"]))
    return "\n".join(out)


def note(rng, world):
    """A comment block that states facts beside a small setting file."""
    relation, subject, _ = rng.choice(world.facts)
    kind = relation.split(".")[0]
    fields = rng.sample(world.about(subject, kind), min(3, len(world.about(subject, kind))))
    out = [f"# settings for {subject.lower()}", f"[{kind}.{subject.lower()}]"]
    out += [f'{f.split(".")[1]} = "{world.get(f, subject)}"' for f in fields]
    out += [
        f"version = {rng.randint(1, 9)}.{rng.randint(0, 9)}",
        f"enabled = {rng.choice(['true', 'false'])}",
    ]
    return "\n".join(out)


FORMS = [
    (table, 22),
    (lookup, 14),
    (record, 18),
    (arithmetic, 9),
    (loop, 10),
    (state, 7),
    (stock, 12),
    (note, 8),
]


def document(rng, world):
    makers, weights = zip(*FORMS)
    return rng.choices(makers, weights)[0](rng, world)
