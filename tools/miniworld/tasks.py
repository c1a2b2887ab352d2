"""Writes the zero-shot tasks of miniworld in the field names of PIQA, ARC, LAMBADA, BoolQ and WinoGrande.

    python3 tools/miniworld/tasks.py [--out datasets/miniworld/tasks] [--seed 7]

Standard library only; deterministic. Items ask about facts that training text states in prose, dialogue or
code but never in question-and-answer form (`World.quizzed` false), in sentences that training text never
uses; check_leaks.py proves it on the files.
"""

import argparse
import json
import pathlib
import random

import story
from relations import RELATIONS
from wording import answer, expand, full_name, paragraph, question
from world import World, a, gerund

ITEMS = 600
LETTERS = ["A", "B", "C", "D"]

# relation: goals and solutions; slots {x} subject with article, {v} value, {vg} gerund, {p} {she} a person.
# The solution names the subject for tools ("which tool?"), the value otherwise.
PIQA = {
    "tool.use": [
        ("{p} wants to {v} before dark, but with what?", "With {ax}."),
        ("{p} was given {ax}. What can {she} do now?", "to {v}"),
        ("How can {p} {v} alone?", "With {ax}."),
    ],
    "animal.habitat": [
        ("{p} hopes to watch {x} for a day.", "Let {her} go to the {v}."),
        ("{p} wants to bring a hurt {s} home. Where is that?", "In the {v}."),
    ],
    "animal.eats": [
        ("{p} wants to feed {x}. What will it eat?", "{v}"),
        ("A hungry {s} came to the door. What will it eat?", "{v}"),
    ],
    "object.room": [
        ("{p} must put {x} back.", "Let {her} go to the {v}."),
        ("Somebody left {x} on the road. Where must it go?", "In the {v}."),
    ],
    "object.material": [("{p} wants to make a new {s}. What must {she} buy?", "{v}")],
    "food.source": [("{p} has no {s} today. From what could {she} get it?", "{v}")],
    "job.makes": [
        ("{p} has run out of {v}. Who sells more?", "the {s}"),
        ("{p} must find more {v} today. Who sells that?", "the {s}"),
    ],
    "job.place": [("{p} must see {x} before noon.", "Let {her} go to the {v}.")],
    "tool.user": [("Somebody lost {x} on the road. Whose is it?", "{v}")],
    "tool.material": [("{p} wants to make a new {s}. What must {she} buy?", "{v}")],
    "person.town": [("A letter for {x} has come. Where must it go?", "{v}")],
    "person.food": [("{p} asks {x} to supper. What will please {x}?", "{v}")],
    "person.pet": [("{p} must look for what ran off from {x}.", "the {v}")],
}
PIQA["tool.other_use"] = PIQA["tool.use"]
NAMES_SUBJECT = {"tool.use", "tool.other_use", "job.makes"}

WINOGRANDE = {
    "animal.habitat": [
        "At dusk {a} and {b} parted, for _ had to return to the {v}.",
        "{A} left {b} behind, and _ was soon back at the {v}.",
    ],
    "animal.eats": [
        "{A} let {b} go first, although it was _ that wanted the {v}.",
        "{A} and {b} quarrelled until _ was given {v}.",
    ],
    "animal.size": ["{A} stood beside {b}, and one could see how _ was so {v}."],
    "animal.colour": ["In the fog {a} was taken for {b} until _ turned out to be {v}."],
    "animal.cover": ["{A} did not envy {b}, knowing that _ was born with {v}."],
    "object.material": [
        "{A} fell on {b}, but people said that _ was only {v}.",
        "Between {a} and {b} a thief would take _ for the {v}.",
    ],
    "object.room": ["{A} was put beside {b} by mistake, for _ came out of the {v}."],
    "tool.use": [
        "{A} hung next to {b}, and only _ would do for {vg}.",
        "{A} was lent and {b} was sold, so _ was missing when they had to {v}.",
    ],
    "tool.user": ["{A} lay under {b} until _ was called for by the {v}."],
    "tool.material": ["{A} hit {b} so hard that the {k} of _ rang like {v}."],
    "food.taste": ["They ate {a} with {b}, because _ alone is far too {v}."],
    "food.source": ["{A} will be dearer than {b} this year, for _ needs good {v}."],
    "job.place": ["{A} met {b} at noon, and then _ hurried to the {v}."],
    "job.makes": [
        "{A} owed money to {b}, and so _ paid in {v}.",
        "{A} sat down by {b}, and _ spoke only of {v}.",
    ],
    "town.region": ["A rider from {a} came to {b} because _ calls all of {v} to its fair."],
    "town.river": ["{A} is older than {b}, but only _ has boats on the {v}."],
    "town.landmark": ["Going from {a} to {b}, one knows _ at once by the {v}."],
    "town.product": ["The road from {a} to {b} is full of carts, for _ sends out its {v}."],
    "town.setting": ["The storm spared {a} and hit {b}, though _ has only its {v}."],
    "person.town": [
        "{A} rode with {b} to the crossroads, where _ took the road to {v}.",
        "{A} was taller than {b}, but _ was the pride of {v}.",
    ],
    "person.job": ["{A} and {b} are cousins, and everyone asks for _ the {v}."],
    "person.pet": ["{A} could not stay with {b} for long, because _ had to look after the {v}."],
    "person.food": ["{A} cooked for {b}, and _ took all the {v}."],
    "person.colour": ["{A} danced with {b}, and _ was dressed in {v}."],
    "person.hobby": ["{A} and {b} sat by the fire, and _ could talk of nothing but {v}."],
}
WINOGRANDE["tool.other_use"] = WINOGRANDE["tool.use"]

# Last sentences by plot. The last word occurs earlier in the tale, and what is known of its persons agrees.
LAMBADA = {
    "LOST": [
        ("From then on {a} was happy, and the {obj} is still kept in the {room}", "room"),
        ("{b} never forgot that day, and the {obj} still belongs in the {room}", "room"),
    ],
    "JOURNEY": [
        ("After that {a} never left home, and still lives in {home}", "home"),
        ("They never forgot that day, though {b} still lives in {bhome}", "bhome"),
    ],
    "MARKET": [
        ("That was long ago, but {b} still likes {bfood}", "bfood"),
        ("Everyone was tired, and for supper {b} still eats {bfood}", "bfood"),
    ],
    "WORKDAY": [
        ("And to this day {a} the {job} still works with {atool}", "tool"),
        ("Years went by, and {a} the {job} still sells {makes}", "makes"),
    ],
    "FABLE": [
        ("Everyone went home, and {animal} still lives in the {habitat}", "habitat"),
        ("All that was long ago, but {animal2} still eats {eats2}", "eats2"),
    ],
    "PET": [
        ("That was years ago, but {a} still keeps {apet}", "pet"),
        ("So everyone was happy, and {a} still feeds the {pet}", "pet"),
    ],
    "GIFT": [
        ("That was years ago, and {b} still wears {bcolour}", "bcolour"),
        ("From that day on {b} was happy, and still wears {bcolour}", "bcolour"),
    ],
}


def unquizzed(world, relations):
    return [f for f in world.facts if f[0] in relations and not world.quizzed[f[:2]]]


def piqa(rng, world):
    relation, subject, value = rng.choice(unquizzed(world, PIQA))
    goal, solution = rng.choice(PIQA[relation])
    kind, person = relation.split(".")[0], rng.choice(world.subjects["person"])
    shared = dict(p=person, she=world.pronoun(person)[0], her=world.pronoun(person)[1])

    def words(s, v):
        return dict(shared, s=s, x=full_name(kind, s), ax=a(s), v=v, vg=gerund(v) if " " in v else v)

    if relation in NAMES_SUBJECT and "{v}" not in solution:
        taken = ("tool.use", "tool.other_use") if kind == "tool" else (relation,)
        other = rng.choice([s for s in world.subjects[kind] if all(world.get(r, s) != value for r in taken)])
        right, wrong = solution.format(**words(subject, value)), solution.format(**words(other, value))
    else:
        right = solution.format(**words(subject, value))
        wrong = solution.format(**words(subject, world.wrong(rng, relation, subject, 1)[0]))
    return {"goal": goal.format(**words(subject, value)), "sol1": right, "sol2": wrong}


def arc(rng, world):
    relation, subject, value = rng.choice(unquizzed(world, RELATIONS))
    texts = [answer(rng, relation, v) for v in [value] + world.wrong(rng, relation, subject, 3)]
    return {"question": question(rng, "test", relation, subject, value), "texts": texts}


def boolq(rng, world, truth):
    relation, subject, value = rng.choice(unquizzed(world, RELATIONS))
    kind = relation.split(".")[0]
    others = [(r, world.get(r, subject)) for r in world.about(subject, kind) if r != relation]
    facts = [(relation, value)] + rng.sample(others, min(len(others), rng.randint(2, 4)))
    rng.shuffle(facts)
    shown = value if truth else world.wrong(rng, relation, subject, 1)[0]
    return {
        "question": question(rng, "check", relation, subject, shown),
        "passage": paragraph(rng, kind, subject, facts),
    }


def winogrande(rng, world):
    relation, subject, value = rng.choice(unquizzed(world, WINOGRANDE))
    kind = relation.split(".")[0]
    same = (
        ("tool.use", "tool.other_use")
        if relation.startswith("tool.") and relation.endswith("use")
        else (relation,)
    )
    other = rng.choice(
        [s for r, s, _ in world.facts if r == relation and all(world.get(q, s) != value for q in same)]
    )
    pair = [full_name(kind, subject), full_name(kind, other)]
    order = pair if rng.random() < 0.5 else pair[::-1]
    text = expand(rng, rng.choice(WINOGRANDE[relation])).format(
        a=order[0],
        A=order[0][0].upper() + order[0][1:],
        b=order[1],
        v=value,
        k="sound",
        vg=gerund(value) if " " in value else value,
    )
    return {"sentence": text, "right": pair[0], "wrong": pair[1]}


def lambada(rng, world):
    name = rng.choice(sorted(LAMBADA))
    sentences, cast = story.tale(rng, world, getattr(story, name))
    ending, target = rng.choice(LAMBADA[name])
    word = cast[target].split()[-1]
    context = " ".join(sentences[:-1])
    cast.update(atool=a(cast["tool"]), apet=a(cast["pet"]))
    last = ending.format_map(cast)
    if not f" {word}" in context or not last.endswith(" " + word):
        return None
    return {"text": context + " " + last[0].upper() + last[1:]}


def build(world, seed):
    """{task: items}; distinct items, labels balanced to within one."""
    out = {}
    for task, make in [
        ("piqa", piqa),
        ("arc", arc),
        ("lambada", lambada),
        ("boolq", boolq),
        ("winogrande", winogrande),
    ]:
        rng, items, seen = random.Random(f"{seed}/{task}"), [], set()
        while len(items) < ITEMS:
            i = len(items)
            item = make(rng, world, i % 2 == 0) if task == "boolq" else make(rng, world)
            key = json.dumps(item)
            if item is None or key in seen:
                continue
            seen.add(key)
            if task == "piqa":
                right, wrong = item["sol1"], item["sol2"]
                item.update(sol1=(right, wrong)[i % 2], sol2=(wrong, right)[i % 2], label=i % 2)
            elif task == "arc":
                texts = item.pop("texts")
                choices = texts[1:]
                choices.insert(i % 4, texts[0])
                item = {
                    "id": f"miniworld_{i:04d}",
                    **item,
                    "choices": {"text": choices, "label": LETTERS},
                    "answerKey": LETTERS[i % 4],
                }
            elif task == "boolq":
                item["answer"] = i % 2 == 0
            elif task == "winogrande":
                right, wrong = item.pop("right"), item.pop("wrong")
                item.update(
                    option1=(right, wrong)[i % 2], option2=(wrong, right)[i % 2], answer=str(1 + i % 2)
                )
            items.append(item)
        rng.shuffle(items)
        out[task] = items
    return out


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=root / "datasets/miniworld/tasks")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for task, items in build(World(), options.seed).items():
        path = options.out / f"{task}.jsonl"
        path.write_text("".join(json.dumps(i, ensure_ascii=False) + "\n" for i in items), encoding="utf-8")
        print(f"{path.name}: {len(items)} items, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
