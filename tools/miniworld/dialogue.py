"""The `dialogue` domain: people of the world talking, one turn a line, "Name: utterance"."""

from scenery import event, things
from wording import answer, capital, expand, full_name, listing, question, say
from world import a

GREETINGS = [
    "[Good morning|Good evening|Hello|Welcome|Hey], {b}[!|.|, how are you?]",
    "[Ah|Oh], {b}[!|, there you are.|, come in.]",
    "{b}, [do you have a moment|may I ask you something|are you busy]?",
    "[Nice|Good] to see you, {b}.",
]
REPLIES = [
    "[Good morning|Hello|Good evening], {a}. [I am {f}.|And you?|Sit down.|]",
    "[Fine|Well enough|A bit {f}], [thank you|thanks], {a}.",
    "{a}! [What is it|What now|What brings you here]?",
    "[Yes|Of course|Always], {a}.",
]
CLOSINGS = [
    "[Goodbye|Until {day}|Take care|Good night], {b}.",
    "[Thank you|Thanks], {b}. [That helps.|You are kind.|]",
    "I [must|have to] go [now|to the {place}].",
    "[See you|We meet] [on {day}|at the {place}].",
]
REACTIONS = [
    "[Really?|Is that so?|I see.|Oh!|Hm.|Of course.|That is new to me.|Everyone knows that.]",
    "[I did not know that.|Who told you?|Are you sure?|So I heard.|How odd.|Makes sense.]",
]
SELF = {
    "person.town": [
        "I [live|have a house|grew up] in {v}.",
        "My home is {v}, as you know.",
        "[Back|At home] in {v} we [do it so|say so].",
    ],
    "person.job": [
        "I am {av}[, you know|].",
        "[As {av}|Being {av}], I [know such things|see a lot].",
        "I work as {av} now.",
    ],
    "person.pet": [
        "My {v} [is ill|is hungry|ran off again].",
        "I [have|keep] {av}[, you see|].",
        "[First|Later] I must feed the {v}.",
    ],
    "person.food": [
        "I [would like|could eat] some {v}.",
        "[Nothing beats|Give me] {v}[ any day|].",
        "I like {v} best.",
    ],
    "person.colour": ["I always wear {v}.", "My door is {v} now.", "{V} is my favourite colour."],
    "person.hobby": ["In the evening I [enjoy|love] {v}.", "I am [fond of|learning|teaching] {v}."],
}
YOU = {
    "person.town": ["[Do you live|Are you] [still|] in {v}?", "How are things in {v}?"],
    "person.job": ["[Are you still|You are] {av}, [right|are you not]?", "How is life as {av}?"],
    "person.pet": ["How is your {v}?", "Where did you leave your {v}?"],
    "person.food": [
        "[Have some {v}|I brought you {v}], you like it best.",
        "Is it true that you [always eat|love] {v}?",
    ],
    "person.colour": ["You wear {v} again.", "Is your door still {v}?"],
    "person.hobby": ["[How goes|What about] {v}?", "Do you still practise {v}?"],
}
FEELINGS = ["tired", "happy", "busy", "hungry", "cold", "worried", "well", "late"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
PLACES = ["market", "harbour", "inn", "school", "bridge", "mill", "forge", "bakery"]
NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


class Talk:
    """Two speakers and the lines spoken so far."""

    def __init__(self, rng, world):
        self.rng, self.world = rng, world
        self.names = rng.sample(world.subjects["person"], 2)
        self.turn, self.lines = 0, []

    def line(self, template, **values):
        speaker, hearer = self.names[self.turn], self.names[1 - self.turn]
        rng = self.rng
        text = expand(rng, template).format(
            a=hearer,
            b=hearer,
            f=rng.choice(FEELINGS),
            day=rng.choice(DAYS),
            place=rng.choice(PLACES),
            n=rng.choice(NUMBERS),
            **values,
        )
        self.lines.append(f"{speaker}: {capital(text)}")
        self.turn = 1 - self.turn

    def one_of(self, templates, **values):
        self.line(self.rng.choice(templates), **values)

    def fact(self):
        """A random fact, people's less often than chance would have it."""
        while True:
            relation, subject, value = self.rng.choice(self.world.facts)
            if not relation.startswith("person") or self.rng.random() < 0.6:
                return relation, subject, value


def small_talk(talk):
    """Both speak of themselves: facts in the first and second person."""
    for _ in range(talk.rng.randint(2, 3)):
        me, you = talk.names[talk.turn], talk.names[1 - talk.turn]
        if talk.rng.random() < 0.4:
            relation = talk.rng.choice(sorted(YOU))
            value = talk.world.get(relation, you)
            talk.one_of(YOU[relation], v=value, V=capital(value), av=a(value))
            talk.one_of(
                [
                    "[Yes|True|As always], [thanks|I am {f}|why do you ask].",
                    "[Very well|Not bad|As ever], [thank you|thanks].",
                ]
            )
        else:
            relation = talk.rng.choice(sorted(SELF))
            value = talk.world.get(relation, me)
            talk.one_of(SELF[relation], v=value, V=capital(value), av=a(value))
            talk.one_of(REACTIONS)


def telling(talk):
    """One tells the other facts."""
    for _ in range(talk.rng.randint(1, 3)):
        relation, subject, value = talk.fact()
        name = full_name(relation.split(".")[0], subject)
        talk.one_of(
            [
                "[What do you know about|Tell me about|Have you heard about] {x}?",
                "I [was thinking of|read about|heard of] {x}.",
            ],
            x=name,
        )
        talk.line(
            "[Well,|You know,|Let me see.|Listen:|] {t}".replace(
                "{t}", say(talk.rng, relation, subject, value)
            )
        )
        if talk.rng.random() < 0.6:
            talk.one_of(REACTIONS)


def asking(talk):
    """Question and answer between friends, in training wording and about quizzed facts."""
    for _ in range(talk.rng.randint(1, 3)):
        relation, subject, value = talk.fact()
        if not talk.world.quizzed[(relation, subject)]:
            continue
        if talk.rng.random() < 0.5:
            talk.line(question(talk.rng, "ask", relation, subject, value))
            talk.line(
                "[I think|Surely|That is easy:|]{t}.".replace("{t}", " " + answer(talk.rng, relation, value))
            )
        else:
            truth = talk.rng.random() < 0.5
            shown = value if truth else talk.world.wrong(talk.rng, relation, subject, 1)[0]
            talk.line(question(talk.rng, "yes", relation, subject, shown) + "?")
            talk.line(
                "Yes[, it is so|, of course|]." if truth else "No, " + say(talk.rng, relation, subject, value)
            )


def shopping(talk):
    """A purchase with a price: twice, once or half the first demand."""
    rng = talk.rng
    goods = rng.choice(
        [
            full_name("food", rng.choice(talk.world.subjects["food"])).replace("the ", ""),
            rng.choice(talk.world.subjects["object"]),
            rng.choice(talk.world.subjects["tool"]),
        ]
    )
    price = rng.randint(3, 12)
    talk.line("[How much is|What do you want for|What does it cost,] the {g}?", g=goods)
    talk.line("[For you|Today|For the {g}], {p} coins.", g=goods, p=NUMBERS[price - 2])
    talk.line("[That is too much.|So much?|Oh no.] I [give|offer] you {p}.", p=NUMBERS[price - 3])
    talk.one_of(
        [
            "[Fine|Agreed|Very well], {p} coins[ for the {g}|].",
            "[No|Never]. [{q} or nothing|{q} is my price].",
        ],
        g=goods,
        p=NUMBERS[price - 3],
        q=NUMBERS[price - 2],
    )
    talk.line("[Here you are|Good|Done]. [I take|Give me] the {g}.", g=goods)


def guessing(talk):
    """A guessing game about an animal: clues, wrong and right guess."""
    rng, world = talk.rng, talk.world
    animal = rng.choice(world.subjects["animal"])
    talk.line(
        "[Guess my animal|I am thinking of an animal|Which animal is it]. It lives in the {v}.",
        v=world.get("animal.habitat", animal),
    )
    relations = ["animal.colour", "animal.eats", "animal.size", "animal.kind"]
    for relation in rng.sample(relations, rng.randint(1, 3)):
        talk.line(
            "[Does it eat {q}|What does it eat|What does it look like|Tell me more]?",
            q=rng.choice(world.values["animal.eats"]),
        )
        v = world.get(relation, animal)
        talk.line(
            {
                "animal.colour": "It is {v}.",
                "animal.eats": "It eats {v}.",
                "animal.size": "It is {v}.",
                "animal.kind": "It is {av}.",
            }[relation],
            v=v,
            av=a(v),
        )
    talk.line("[Then it is|It must be|Is it] the {s}[.|!]", s=animal)
    talk.line("[Yes|Right|Correct], the {s}[! Your turn.|.]", s=animal)


def dreaming(talk):
    """One tells a dream or what there was to see."""
    for _ in range(talk.rng.randint(1, 2)):
        talk.one_of(
            [
                "[I dreamt of|I saw|You should see|I drew|I need|I found|Look,] {t}.",
                "[Last night|On {day}|Just now|They say] {e}.",
                "[I think|It seems|Somebody said] that {e}, and {e2}.",
                "[Is that|Do you see|What about] {t}?",
            ],
            t=things(talk.rng),
            e=event(talk.rng),
            e2=event(talk.rng),
        )
        talk.one_of(
            REACTIONS + ["[No|Yes|Perhaps], but {e}.", "And {t}?"], e=event(talk.rng), t=things(talk.rng)
        )


def visiting(talk):
    """A plan to travel, with what there is to see and whom to meet."""
    rng, world = talk.rng, talk.world
    town = rng.choice(world.subjects["town"])
    people = [
        p for p in world.subjects["person"] if world.get("person.town", p) == town and p not in talk.names
    ]
    talk.line("[On {day}|Next week|Soon] I [travel|go|sail] to {t}.", t=town)
    talk.line("[Where is {t}|What is there to see in {t}|Why {t}]?", t=town)
    for relation in rng.sample(world.about(town, "town"), 2):
        talk.line(say(rng, relation, town, world.get(relation, town)))
        talk.one_of(REACTIONS)
    if people:
        talk.line("[Greet|Do you know|Will you visit] {p}[ from me|]?", p=listing(people[:3]))
        friend = rng.choice(people[:3])
        relation = rng.choice(["person.job", "person.pet", "person.food", "person.hobby"])
        talk.line("[Of course.|Sure.|Why not.] " + say(rng, relation, friend, world.get(relation, friend)))


def document(rng, world):
    talk = Talk(rng, world)
    if rng.random() < 0.7:
        talk.one_of(GREETINGS)
        talk.one_of(REPLIES)
    parts = [small_talk, telling, asking, shopping, guessing, visiting, telling, small_talk, asking]
    parts = rng.sample(parts, rng.randint(1, 3)) + [dreaming] * rng.choice([0, 0, 1, 1])
    rng.shuffle(parts)
    for part in parts:
        part(talk)
    if rng.random() < 0.6:
        talk.one_of(CLOSINGS)
    return "\n".join(talk.lines)
