"""From facts and templates to sentences: bracket alternatives, slots, articles, pronouns, capitals."""

import re

from relations import RELATIONS
from world import World, a, gerund

MASS_FOODS = {
    "cheese",
    "butter",
    "bread",
    "cake",
    "honey",
    "vinegar",
    "mustard",
    "ham",
    "porridge",
    "jam",
    "tea",
    "beer",
}
FEMALE_JOBS = {"weaver", "dairymaid", "healer", "cook", "gardener", "clerk"}
_INNERMOST = re.compile(r"\[([^\[\]]*)\]")


def expand(rng, template):
    """Chooses one alternative of each bracket, innermost first, and tidies the spaces an empty one leaves."""
    while True:
        match = _INNERMOST.search(template)
        if not match:
            break
        template = template[: match.start()] + rng.choice(match.group(1).split("|")) + template[match.end() :]
    return re.sub(r" +([.,!?])", r"\1", re.sub(r" +", " ", template)).strip()


def capital(text):
    return text[:1].upper() + text[1:]


def full_name(kind, subject):
    """How a sentence names the subject: "the fox", "bread", "Mira"."""
    if kind in ("person", "town", "region") or subject in MASS_FOODS:
        return subject
    return "the " + subject


def possessive(kind, subject):
    if kind == "person":
        return World.pronoun(subject)[2]
    if kind == "job":
        return "her" if subject in FEMALE_JOBS else "his"
    return "its"


def slots(relation, subject, value, pronoun=None):
    """The values of all template slots for one fact; `pronoun` replaces the subject where {X} stands."""
    kind = relation.split(".")[0]
    name = full_name(kind, subject)
    return {
        "x": name,
        "X": pronoun or name,
        "s": subject,
        "his": possessive(kind, subject),
        "His": possessive(kind, subject) if pronoun else name + ("'" if name.endswith("s") else "'s"),
        "v": value,
        "V": value,
        "av": a(value),
        "vg": gerund(value) if " " in value else value,
    }


def fill(rng, template, **values):
    return capital(expand(rng, template).format(**values))


def say(rng, relation, subject, value, pronoun=None):
    """A statement of the fact in training wording."""
    return fill(rng, rng.choice(RELATIONS[relation]["say"]), **slots(relation, subject, value, pronoun))


def question(rng, form, relation, subject, value):
    """A question about the fact; `form` is "ask" or "yes" (training), "test" or "check" (tasks)."""
    text = expand(rng, rng.choice(RELATIONS[relation][form])).format(**slots(relation, subject, value))
    return capital(text) if form in ("ask", "test") else text


def pronoun_of(kind, subject):
    if kind == "person":
        return World.pronoun(subject)[0]
    return "it" if kind in ("animal", "tool", "object", "food", "town") else None


def paragraph(rng, kind, subject, facts):
    """Statements about one subject, by name first, then by name or pronoun."""
    out = []
    for i, (relation, value) in enumerate(facts):
        short = pronoun_of(kind, subject) if i and rng.random() < 0.55 else None
        out.append(say(rng, relation, subject, value, short))
    return " ".join(out)


def answer(rng, relation, value):
    """A short answer as the quizzes give it."""
    return "to " + value if relation in ("tool.use", "tool.other_use") else value


def listing(words):
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
