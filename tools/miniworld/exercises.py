"""Exercises: passages with many yes/no questions, for the second stage of training only.

They are encyclopedia text with questions about quizzed facts in training wording, like `encyclopedia.reading`, but
more questions a passage: learning to compare a question with a passage needs many answers.
"""

from encyclopedia import KIND_WEIGHTS, facts_about, proper_words
from wording import paragraph, question, say

FORMS = ["is it true that {}", "is it right to say that {}", "does the text say that {}", "can it be that {}"]


def _question(rng, world, relation, subject, value):
    """A direct yes/no question, or a statement turned into one."""
    if rng.random() < 0.5:
        return question(rng, "yes", relation, subject, value)
    text = say(rng, relation, subject, value).rstrip(".")
    if text.split()[0].rstrip(",") not in proper_words(world):
        text = text[0].lower() + text[1:]
    return rng.choice(FORMS).format(text)


def document(rng, world):
    while True:
        kind = rng.choices(*zip(*KIND_WEIGHTS))[0]
        subject = rng.choice(world.subjects[kind])
        facts = facts_about(rng, world, kind, subject, rng.randint(2, 5))
        asked = [r for r, _ in facts if world.quizzed[(r, subject)]]
        if asked:
            break
    out = [paragraph(rng, kind, subject, facts)]
    for _ in range(rng.randint(4, 7)):
        relation = rng.choice(asked)
        truth = rng.random() < 0.5
        value = world.get(relation, subject) if truth else world.wrong(rng, relation, subject, 1)[0]
        out.append(
            f"Question: {_question(rng, world, relation, subject, value)}?\nAnswer: {'yes' if truth else 'no'}"
        )
    return "\n".join(out)
