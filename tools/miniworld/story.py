"""The `story` domain: short tales in the past tense about people, pets and animals of the world.

Each plot is a list of sentence templates with the world's facts and things chosen for this tale in the
slots; a thing named early comes back later, so that the tale's own context predicts words, as does what is
known of people.
"""

from scenery import event, things
from wording import expand
from world import a

OPENINGS = [
    "[One|On a] [cold|bright|wet|windy|warm|foggy] {day} [morning|evening], ",
    "[Last|That] {season}, ",
    "[Long ago|Years ago|Not long ago|Once], ",
    "It was {weather} when ",
    "[Before sunrise|At noon|Late at night], ",
    "",
]
WEATHER = [
    "raining",
    "snowing",
    "almost dark",
    "very hot",
    "still early",
    "market day",
    "a holiday",
    "harvest time",
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
SEASONS = ["spring", "summer", "autumn", "winter"]
FEELINGS = ["tired", "happy", "worried", "hungry", "cold", "proud", "angry", "curious", "afraid", "quiet"]
PLACES = [
    "bridge",
    "well",
    "gate",
    "church",
    "mill pond",
    "old oak",
    "crossroads",
    "market",
    "harbour",
    "school",
    "inn",
]
ADJECTIVES = ["old", "new", "small", "heavy", "broken", "pretty", "strange", "plain", "dusty", "precious"]
FILLERS = [
    "The [wind|rain|sun|snow] [came and went|did not stop|was everywhere].",
    "[Somewhere|Far away] a bell rang {n} times.",
    "{N} hours [passed|went by].",
    "[Nobody|No one] [spoke|laughed|moved] for a while.",
    "{She} felt {feeling}.",
    "[A child|An old man|A stranger] [waved|shouted something|asked the time].",
    "The road was [long|empty|full of mud].",
    "{She} [counted to {n}|hummed a song|sat down and thought|drank some water|looked at the sky].",
    "It was [a good|a hard|a strange] {season}.",
    "By the {place} {n} children [were playing|threw stones|ran about].",
    "{She} was [a little|very] {feeling}, but [said nothing|went on|smiled].",
    '"[Well, well|Oh dear|So be it|Good|Never mind|At last]," {she} said.',
    "The {pet} of {c} [barked|sat|slept] near the {place}.",
    "{C} [passed by|looked out of the window|called a greeting].",
]
SCENERY = [
    "[Outside|Meanwhile|Just then|Nearby|All the while], {event}[, and {event}|].",
    "{She} [thought of|dreamt of|looked at|stepped over|noticed|drew] {things}.",
    "[Somewhere {event}.|{event}.|{event}, or so it seemed.]",
    "There were {things}[ in the {place}| by the {place}|].",
]
ENDINGS = [
    "[That was|And that is] the end of it.",
    "[Everyone|All] went home {feeling}.",
    "They [laughed|talked] until dark.",
    "{She} never forgot that {day}.",
    "From then on {a} and {b} were friends.",
    "{She} slept well that night.",
    "And {a} told the story for {n} years.",
    "In {town} they still [tell|sing] of it.",
    "",
]
LOST = [
    "{opening}{a} [could not find|missed|had lost] {her} {adj} {obj}.|{opening}the {adj} {obj} of {a} was gone.",
    "{filler}",
    "[First|At once] {she} [looked in|searched] the {room2}, but [found|there was] only {aobj2}.",
    '"[Have you seen|Where is|Did you take] my {obj}?" {she} asked {b}.|{a} asked {b} about the {obj}.',
    '{b}, who [worked at|came from] the {bplace}, [shook {bhis} head|had not seen it|knew nothing].|"[A|The] {obj}? '
    '[No|Not today|Ask {c}]," said {b} the {bjob}.',
    "{filler}",
    "[Then|At last|In the end] {she} went to the {room}[ and looked again|].",
    "There[, under the {obj2},| behind the {obj2}|] [lay|was] the {obj}.|In the {room} {she} [saw|found] the {obj}.",
    '[{b} was glad about the {obj}.|{a} held the {obj} in both hands.|"My {obj}!" cried {a}.]',
]
JOURNEY = [
    "{opening}{a} [left {home}|set out from {home}] to see {b} in {bhome}.",
    "{She} [took|packed] {afood} and {aobj}.",
    "{filler}",
    "[In the {habitat}|Crossing the {habitat}], {she} saw {animal}[ looking for {eats}|].|{animal} [ran|crossed the path] near the {habitat}.",
    "{filler}",
    "In {region}, where {btown_say}, {she} [asked the way|rested {n} hours].|{she} [came past|saw] the {mark} of {bhome}.",
    "{b}, [the {bjob}|who was {abjob}], [stood at the gate|opened the door] [with {bhis} {bpet}|].",
    "They [ate|shared] the {food} [and spoke of {bhobby}|together].",
    "After {n} days {a} [went|rode|walked] home to {home}.|{n} days later {a} was in {home} again.",
]
MARKET = [
    "{opening}{a} [went to the market of {town}|walked to the market] with {n} coins.",
    "{She} wanted {bfood} for {b}, who [liked {bfood} best|always asked for {bfood}].",
    "{filler}",
    "[The merchant|{c}] [asked|wanted] {n} coins for the {bfood}.",
    '"[Too much|That is a lot|Fine]," said {a}, "[{n} and no more|here you are|I will take it]."',
    "{She} [also bought|looked at] {aobj} and {aobj2}, because the {obj} was {material}.",
    "{filler}",
    "[In the evening|At supper] {b} [ate|tasted] the {bfood}.|When {b} came home from the {bplace}, there was {bfood}.",
    '[It was {taste}, as {bfood} should be.|"How {taste}!" said {b}.|{b} thanked {a} for the {bfood}.]',
]
WORKDAY = [
    "{opening}{a} the {job} [opened|was at] the {place}[ early|].",
    "{She} [took up|reached for] the {tool}, because {she} had to {use}.|There was much to do: somebody had to {use}.",
    "{filler}",
    "[{b} came in|A stranger came in|{c} came by] and asked for {makes}.",
    '"[Come back in {n} hours|Wait here|Sit down]," said {a}, "[I only need|give me] the {tool}."',
    "But the {tool} [was broken|was gone|would not work].",
    "{filler}",
    "{b} [lent|gave] {him} [another|a new] {tool}[ of {tmaterial}|].",
    "[Soon|By evening] the {makes} [were ready|was ready].|{a} [sold|finished] {n} [pieces|baskets] of {makes} that day.",
]
FABLE = [
    "{opening}{animal} [met|saw] {animal2} [by the {place}|on the road].",
    '"[Where are you going|Have you eaten]?" [said|asked] {animal}.',
    '"I [live|sleep] in the {habitat2} and eat {eats2}," said {animal2}.',
    '"{Eats2}! [I|We] eat {eats} in the {habitat}," [answered|laughed] {animal}.',
    "{animalfiller}",
    "So they [agreed|decided] to [share|trade]: {n} {eats} for {n} {eats2}.",
    "{animal} was {size}, {animal2} was {size2}.",
    "{animalfiller}",
    "[In the end|At night] {animal} went back to the {habitat}[ and {animal2} to the {habitat2}|].",
]
PET = [
    "{opening}the {pet} of {a} [ran off|was gone|got out].",
    '"[My poor {pet}|Where is my {pet}|Come back]!" [cried|called] {a}.',
    "{b} [heard it|came running] from the {bplace}, {tool} in hand.",
    "They [looked|searched] [in|behind|near] the {place} and in the {room}.",
    "{filler}",
    "[There was only {aobj}|They found {aobj}, but no {pet}].",
    '"[Try some {food}|It likes {food}]," said {b}.',
    "{filler}",
    "[At last|Then] out of the {room} came the {pet}.|{b} found the {pet} by the {place}.",
    '{a} [carried|took] the {pet} home to {home}.|"Good {pet}," said {a}.',
]
GIFT = [
    "{opening}{a} [wanted|hoped] to give {b} something [for {bhis} birthday|].",
    "{b} [loved|enjoyed] {bhobby} and wore {bcolour}.",
    '"[Perhaps|Maybe] {aobj}?" [said|asked] {c}. "It is [only|good] {material}."',
    '"[Better|Or] {aobj2} of {material2}, [painted|with] {bcolour}," said {a}.',
    "{filler}",
    "So {a} [went|walked] to the {shop} in {home}[ and paid {n} coins|].",
    "[On {day}|In the evening] {b} [opened the box|looked up].",
    '"{Aobj2}! [And {bcolour}!|How kind!|For me?]" {b} [said|cried].',
    "{b} [put|kept] the {obj2} in the {room2}.",
]
PLOTS = [LOST, JOURNEY, MARKET, WORKDAY, FABLE, PET, GIFT]


class _Cast(dict):
    """Slots of one tale. `{n}`, `{feeling}`, `{filler}` and the like are drawn anew at each use."""

    def __init__(self, rng, world):
        super().__init__()
        get, pick = world.get, lambda kind: rng.choice(world.subjects[kind])
        one, two, three = rng.sample(world.subjects["person"], 3)
        job, bjob, tool = get("person.job", one), get("person.job", two), pick("tool")
        tool = get("job.tool", job)
        obj, obj2 = rng.sample(world.subjects["object"], 2)
        animal, animal2 = rng.sample(world.subjects["animal"], 2)
        food, bfood = pick("food"), get("person.food", two)
        home, bhome = get("person.town", one), get("person.town", two)
        she, her, _ = world.pronoun(one)
        self.update(
            a=one,
            b=two,
            c=three,
            C=three,
            she=she,
            She=she.capitalize(),
            her=world.pronoun(one)[2],
            him=world.pronoun(one)[1],
            bhis=world.pronoun(two)[2],
            job=job,
            bjob=bjob,
            abjob=a(bjob),
            place_of_work=get("job.place", job),
            bplace=get("job.place", bjob),
            shop=get("job.place", rng.choice(world.subjects["job"])),
            home=home,
            bhome=bhome,
            town=rng.choice(world.subjects["town"]),
            region=get("town.region", bhome),
            mark=get("town.landmark", bhome),
            btown_say=f"they make {get('town.product', bhome)}",
            pet=get("person.pet", one),
            bpet=get("person.pet", two),
            food=food,
            afood="some " + food,
            bfood=bfood,
            taste=get("food.taste", bfood),
            bhobby=get("person.hobby", two),
            bcolour=get("person.colour", two),
            obj=obj,
            obj2=obj2,
            aobj=a(obj),
            aobj2=a(obj2),
            Aobj2=a(obj2).capitalize(),
            material=get("object.material", obj),
            material2=get("object.material", obj2),
            room=get("object.room", obj),
            room2=get("object.room", obj2),
            adj=rng.choice(ADJECTIVES),
            makes=get("job.makes", job),
            tool=tool,
            use=get(rng.choice(["tool.use", "tool.other_use"]), tool),
            tmaterial=get("tool.material", tool),
            animal="the " + animal,
            animal2="the " + animal2,
            habitat=get("animal.habitat", animal),
            habitat2=get("animal.habitat", animal2),
            eats=get("animal.eats", animal),
            eats2=get("animal.eats", animal2),
            Eats2=get("animal.eats", animal2).capitalize(),
            size=get("animal.size", animal),
            size2=get("animal.size", animal2),
            day=rng.choice(DAYS),
            season=rng.choice(SEASONS),
            weather=rng.choice(WEATHER),
        )
        self.rng = rng

    def __missing__(self, key):
        rng = self.rng
        if key in ("n", "N"):
            word = rng.choice(["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"])
            return word.capitalize() if key == "N" else word
        if key == "feeling":
            return rng.choice(FEELINGS)
        if key == "place":
            return rng.choice(PLACES)
        if key == "opening":
            return sentence(self, rng.choice(OPENINGS), first=False) + " "
        if key == "event":
            return event(rng)
        if key == "things":
            return things(rng)
        if key == "filler" and rng.random() < 0.35:
            return sentence(self, rng.choice(SCENERY))
        if key == "filler":
            return sentence(self, rng.choice(FILLERS)) if rng.random() < 0.6 else ""
        if key == "animalfiller":
            return sentence(self, rng.choice(FILLERS[:3] + FILLERS[5:7])) if rng.random() < 0.6 else ""
        raise KeyError(key)


def _top_level_choice(rng, template):
    """Chooses between whole-sentence alternatives, which are separated by "|" outside all brackets."""
    parts, depth = [""], 0
    for char in template:
        depth += (char == "[") - (char == "]")
        if char == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return rng.choice(parts)


def sentence(cast, template, first=True):
    text = expand(cast.rng, _top_level_choice(cast.rng, template)).format_map(cast)
    text = expand(cast.rng, text)
    start = 1 if text.startswith('"') else 0
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :] if first else text


def tale(rng, world, plot=None):
    """The sentences of one tale, and its cast."""
    cast = _Cast(rng, world)
    plot = plot or rng.choice(PLOTS)
    if plot is WORKDAY:
        cast["place"] = cast["place_of_work"]
    out = []
    for i, template in enumerate(plot):
        if i and rng.random() < 0.12:
            continue
        out.append(sentence(cast, template))
        if rng.random() < 0.04:
            out.append(sentence(cast, rng.choice(SCENERY[::2] if plot is FABLE else SCENERY)))
    if rng.random() < 0.6 and plot is not FABLE:
        out.append(sentence(cast, rng.choice(ENDINGS)))
    return [s for s in out if s], cast


def document(rng, world):
    sentences, _ = tale(rng, world)
    cut = rng.randint(3, max(4, len(sentences) - 2))
    paragraphs = [sentences[:cut], sentences[cut:]] if rng.random() < 0.5 else [sentences]
    return "\n".join(" ".join(p) for p in paragraphs if p)
