"""The facts of miniworld: a small closed world whose facts never contradict each other.

A fact is (relation, subject, value), e.g. ("animal.habitat", "otter", "river"). Facts about things are written
down here by hand; facts about people and towns are drawn once from the world's seed. Everything else in this
directory only words these facts. Where a value depends on another one, it is derived here (an animal's covering
from its kind, a tool's owner from the job that uses it), so that text and tasks agree by construction.
"""
import random

WORLD_SEED = 2024

# name: kind, habitat, eats, colour, size
ANIMALS = {
    "fox": ("mammal", "forest", "mice", "red", "middling"),
    "otter": ("mammal", "river", "crabs", "brown", "middling"),
    "bear": ("mammal", "forest", "honey", "brown", "huge"),
    "hare": ("mammal", "meadow", "clover", "grey", "small"),
    "goat": ("mammal", "mountain", "thistles", "white", "large"),
    "camel": ("mammal", "desert", "thorns", "yellow", "huge"),
    "mole": ("mammal", "garden", "worms", "black", "small"),
    "seal": ("mammal", "sea", "herring", "grey", "large"),
    "mouse": ("mammal", "barn", "grain", "grey", "tiny"),
    "badger": ("mammal", "forest", "roots", "black", "middling"),
    "heron": ("bird", "marsh", "frogs", "grey", "large"),
    "owl": ("bird", "barn", "mice", "white", "middling"),
    "eagle": ("bird", "mountain", "hares", "brown", "large"),
    "robin": ("bird", "garden", "worms", "red", "tiny"),
    "gull": ("bird", "sea", "crabs", "white", "middling"),
    "duck": ("bird", "lake", "reeds", "green", "middling"),
    "crow": ("bird", "meadow", "grain", "black", "middling"),
    "swan": ("bird", "lake", "reeds", "white", "large"),
    "trout": ("fish", "river", "flies", "silver", "small"),
    "pike": ("fish", "lake", "frogs", "green", "large"),
    "eel": ("fish", "marsh", "snails", "black", "middling"),
    "herring": ("fish", "sea", "shrimps", "silver", "small"),
    "bee": ("insect", "meadow", "nectar", "yellow", "tiny"),
    "ant": ("insect", "garden", "crumbs", "red", "tiny"),
    "cricket": ("insect", "meadow", "clover", "green", "tiny"),
    "beetle": ("insect", "forest", "leaves", "blue", "tiny"),
    "lizard": ("reptile", "desert", "beetles", "green", "small"),
    "viper": ("reptile", "marsh", "mice", "yellow", "middling"),
    "turtle": ("reptile", "lake", "snails", "green", "middling"),
    "tortoise": ("reptile", "desert", "cactus", "brown", "large"),
}
COVER = {"mammal": "fur", "bird": "feathers", "fish": "scales", "insect": "a hard shell", "reptile": "dry skin"}

# name: purposes (verb phrases), material
TOOLS = {
    "spade": (("dig holes", "turn the soil"), "iron"), "hammer": (("drive nails", "break stones"), "iron"),
    "saw": (("cut planks", "trim branches"), "steel"), "needle": (("sew shirts", "mend socks"), "steel"),
    "broom": (("sweep floors", "clear dust"), "straw"), "ladle": (("serve soup", "stir stew"), "tin"),
    "bucket": (("carry water", "hold milk"), "oak"), "net": (("catch fish", "trap crabs"), "hemp"),
    "ladder": (("reach the roof", "climb walls"), "oak"), "scythe": (("mow hay", "cut grass"), "steel"),
    "oven": (("bake bread", "roast meat"), "clay"), "loom": (("weave cloth", "make rugs"), "oak"),
    "kiln": (("fire pots", "harden bricks"), "clay"), "anvil": (("shape horseshoes", "bend iron"), "iron"),
    "chisel": (("carve statues", "split stone"), "steel"), "brush": (("paint doors", "spread glue"), "hair"),
    "lantern": (("light the path", "see at night"), "tin"), "rope": (("tie boats", "haul sacks"), "hemp"),
    "scales": (("weigh flour", "measure salt"), "brass"), "churn": (("make butter", "beat cream"), "oak"),
    "shears": (("clip sheep", "cut wool"), "steel"), "compass": (("find north", "steer ships"), "brass"),
    "plough": (("break the field", "draw furrows"), "iron"), "quill": (("write letters", "sign papers"), "feather"),
    "mortar": (("crush herbs", "grind pepper"), "stone"), "bellows": (("feed the fire", "blow air"), "leather"),
    "comb": (("untangle hair", "clean fleece"), "bone"), "sieve": (("sift flour", "drain berries"), "tin"),
    "whistle": (("call dogs", "give a signal"), "bone"), "candle": (("seal letters", "read after dark"), "wax"),
}
# name: material, room
OBJECTS = {
    "vase": ("glass", "parlour"), "mirror": ("glass", "bedroom"), "kettle": ("copper", "kitchen"),
    "scarf": ("wool", "bedroom"), "blanket": ("wool", "attic"), "barrel": ("oak", "cellar"),
    "chair": ("oak", "parlour"), "boot": ("leather", "hallway"), "saddle": ("leather", "stable"),
    "ring": ("silver", "bedroom"), "spoon": ("silver", "kitchen"), "plate": ("clay", "kitchen"),
    "jug": ("clay", "cellar"), "bell": ("brass", "tower"), "key": ("brass", "hallway"),
    "book": ("paper", "library"), "map": ("paper", "library"), "curtain": ("silk", "parlour"),
    "ribbon": ("silk", "attic"), "basket": ("straw", "cellar"), "hat": ("straw", "hallway"),
    "coin": ("gold", "tower"), "crown": ("gold", "tower"), "trunk": ("pine", "attic"),
    "bench": ("pine", "stable"), "pan": ("copper", "kitchen"),
}
# name: taste, colour, source (what it is made from or grows on)
FOODS = {
    "plum": ("sweet", "purple", "trees"), "cherry": ("sweet", "red", "trees"), "lemon": ("sour", "yellow", "trees"),
    "leek": ("mild", "green", "fields"), "radish": ("sharp", "red", "fields"), "onion": ("sharp", "white", "fields"),
    "cheese": ("salty", "yellow", "milk"), "butter": ("mild", "yellow", "cream"), "bread": ("mild", "brown", "flour"),
    "cake": ("sweet", "white", "flour"), "honey": ("sweet", "gold", "nectar"), "vinegar": ("sour", "brown", "wine"),
    "mustard": ("sharp", "yellow", "seeds"), "pickle": ("sour", "green", "cucumbers"), "ham": ("salty", "pink", "pork"),
    "porridge": ("mild", "grey", "oats"), "jam": ("sweet", "purple", "berries"), "tea": ("bitter", "brown", "leaves"),
    "beer": ("bitter", "gold", "barley"), "olive": ("salty", "green", "trees"),
}
# name: place of work, what they do there (third person), tool
JOBS = {
    "baker": ("bakery", "bread", "oven"), "smith": ("forge", "horseshoes", "anvil"),
    "potter": ("pottery", "pots", "kiln"), "weaver": ("mill", "cloth", "loom"),
    "tailor": ("shop", "shirts", "needle"), "carpenter": ("workshop", "tables", "saw"),
    "mason": ("quarry", "walls", "chisel"), "gardener": ("orchard", "vegetables", "spade"),
    "farmer": ("farm", "wheat", "plough"), "fisher": ("harbour", "fish", "net"),
    "shepherd": ("pasture", "wool", "shears"), "clerk": ("town hall", "letters", "quill"),
    "cook": ("inn", "soup", "ladle"), "dairymaid": ("dairy", "butter", "churn"),
    "healer": ("clinic", "medicine", "mortar"), "merchant": ("market", "spices", "scales"),
}
TOWNS = ["Dunfield", "Marlow", "Oakham", "Pellworth", "Stonegate", "Riverton", "Harrowby", "Kestrel", "Ashford",
         "Wickham", "Brindle", "Thornbury", "Seaholm", "Greywick"]
REGIONS = ["Norland", "Westmark", "Sundale", "Eastreach"]
RIVERS = ["Amber", "Silt", "Wren", "Lode", "Tamble"]
LANDMARKS = ["windmill", "lighthouse", "castle", "clock tower", "bridge", "fountain", "abbey", "statue"]
PRODUCTS = ["lace", "cider", "candles", "barrels", "saddles", "tiles", "violins", "carpets", "bells"]
SETTINGS = ["hill", "coast", "plain", "valley", "island"]
WOMEN = ["Mira", "Odella", "Brisa", "Tamsin", "Linnet", "Petra", "Juno", "Hester", "Wilma", "Nora", "Ida", "Greta",
         "Clara", "Maud", "Sybil", "Vera", "Thea", "Ruth", "Flora", "Edith", "Nell", "Ottilie", "Pearl", "Rhona"]
MEN = ["Tarn", "Osric", "Bertram", "Colm", "Dagan", "Edgar", "Felix", "Gideon", "Hugo", "Ivor", "Jasper", "Kit",
       "Lorens", "Magnus", "Ned", "Oswin", "Piers", "Quentin", "Rolf", "Silas", "Tobias", "Ulric", "Walt", "Yorick"]
PETS = ["cat", "dog", "pony", "parrot", "rabbit", "goose", "ferret", "canary"]
COLOURS = ["red", "blue", "green", "yellow", "white", "black", "purple", "brown"]
HOBBIES = ["chess", "the flute", "the drum", "the fiddle", "dancing", "painting", "riddles", "archery", "singing"]

GERUNDS = {"dig": "digging", "cut": "cutting", "trim": "trimming", "drive": "driving", "carve": "carving",
           "serve": "serving", "stir": "stirring", "make": "making", "bake": "baking", "write": "writing",
           "tie": "tying", "weave": "weaving", "shape": "shaping", "give": "giving", "clip": "clipping",
           "trap": "trapping", "fire": "firing", "measure": "measuring", "untangle": "untangling",
           "mow": "mowing", "split": "splitting"}
NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
                "twelve"]


def a(noun):
    """The noun with its indefinite article; plural-looking tools take "a pair of"."""
    if noun in ("scales", "shears", "bellows"):
        return "a pair of " + noun
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun


def gerund(phrase):
    """"dig holes" -> "digging holes"."""
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
        self.subjects = {"animal": list(ANIMALS), "tool": list(TOOLS), "object": list(OBJECTS), "food": list(FOODS),
                         "job": list(JOBS), "town": list(TOWNS), "region": list(REGIONS), "person": WOMEN + MEN}
        for name, (kind, habitat, eats, colour, size) in ANIMALS.items():
            self._add("animal", name, kind=kind, habitat=habitat, eats=eats, colour=colour, size=size,
                      cover=COVER[kind])
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
            self._add("town", town, region=regions[i], river=rivers[i], landmark=marks[i], product=products[i],
                      setting=settings[i])
        for region in REGIONS:
            self._add("region", region, capital=rng.choice([t for i, t in enumerate(TOWNS) if regions[i] == region]))

    def _draw_people(self, rng):
        people = WOMEN + MEN
        columns = {"town": TOWNS, "job": list(JOBS), "pet": PETS, "food": list(FOODS), "colour": COLOURS,
                   "hobby": HOBBIES}
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
