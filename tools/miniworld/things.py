"""The tables of miniworld: its things with their properties, and the lists from which people and towns are drawn."""

# name: kind, habitat, eats, colour, size
ANIMALS = {
    "fox": ("mammal", "forest", "mice", "red", "middling"),
    "otter": ("mammal", "river", "crabs", "brown", "middling"),
    "bear": ("mammal", "forest", "honey", "brown", "huge"),
    "goat": ("mammal", "mountain", "thistles", "white", "large"),
    "camel": ("mammal", "desert", "thorns", "yellow", "huge"),
    "mole": ("mammal", "garden", "worms", "black", "small"),
    "seal": ("mammal", "sea", "herring", "grey", "large"),
    "heron": ("bird", "marsh", "frogs", "grey", "large"),
    "owl": ("bird", "barn", "mice", "white", "middling"),
    "eagle": ("bird", "mountain", "hares", "brown", "large"),
    "gull": ("bird", "sea", "crabs", "white", "middling"),
    "duck": ("bird", "lake", "reeds", "green", "middling"),
    "swan": ("bird", "lake", "reeds", "white", "large"),
    "trout": ("fish", "river", "flies", "silver", "small"),
    "pike": ("fish", "lake", "frogs", "green", "large"),
    "herring": ("fish", "sea", "shrimps", "silver", "small"),
    "bee": ("insect", "meadow", "nectar", "yellow", "tiny"),
    "ant": ("insect", "garden", "crumbs", "red", "tiny"),
    "beetle": ("insect", "forest", "leaves", "blue", "tiny"),
    "lizard": ("reptile", "desert", "beetles", "green", "small"),
    "tortoise": ("reptile", "desert", "cactus", "brown", "large"),
    "viper": ("reptile", "marsh", "mice", "yellow", "middling"),
}
COVER = {
    "mammal": "fur",
    "bird": "feathers",
    "fish": "scales",
    "insect": "a hard shell",
    "reptile": "dry skin",
}

# name: purposes (verb phrases), material
TOOLS = {
    "oven": (("bake bread", "roast meat"), "clay"),
    "anvil": (("shape horseshoes", "bend iron"), "iron"),
    "kiln": (("fire pots", "harden bricks"), "clay"),
    "loom": (("weave cloth", "make rugs"), "oak"),
    "needle": (("sew shirts", "mend socks"), "steel"),
    "saw": (("cut planks", "trim branches"), "steel"),
    "spade": (("dig holes", "turn the soil"), "iron"),
    "plough": (("break the field", "draw furrows"), "iron"),
    "net": (("catch fish", "trap crabs"), "hemp"),
    "shears": (("clip sheep", "cut wool"), "steel"),
    "quill": (("write letters", "sign papers"), "feather"),
    "ladle": (("serve soup", "stir stew"), "tin"),
    "hammer": (("drive nails", "break stones"), "iron"),
    "broom": (("sweep floors", "clear dust"), "straw"),
    "bucket": (("carry water", "hold milk"), "oak"),
    "ladder": (("reach the roof", "climb walls"), "oak"),
    "rope": (("tie boats", "haul sacks"), "hemp"),
    "compass": (("find north", "steer ships"), "brass"),
    "sieve": (("sift flour", "drain berries"), "tin"),
    "lantern": (("light the path", "see at night"), "tin"),
}
# name: material, room
OBJECTS = {
    "vase": ("glass", "parlour"),
    "mirror": ("glass", "bedroom"),
    "kettle": ("copper", "kitchen"),
    "scarf": ("wool", "bedroom"),
    "blanket": ("wool", "attic"),
    "barrel": ("oak", "cellar"),
    "chair": ("oak", "parlour"),
    "boot": ("leather", "hallway"),
    "saddle": ("leather", "stable"),
    "ring": ("silver", "bedroom"),
    "plate": ("clay", "kitchen"),
    "jug": ("clay", "cellar"),
    "bell": ("brass", "tower"),
    "key": ("brass", "hallway"),
    "book": ("paper", "library"),
    "ribbon": ("silk", "attic"),
}
# name: taste, colour, source (what it is made from or grows on)
FOODS = {
    "plum": ("sweet", "purple", "trees"),
    "cherry": ("sweet", "red", "trees"),
    "lemon": ("sour", "yellow", "trees"),
    "leek": ("mild", "green", "fields"),
    "radish": ("sharp", "red", "fields"),
    "cheese": ("salty", "yellow", "milk"),
    "butter": ("mild", "yellow", "cream"),
    "bread": ("mild", "brown", "flour"),
    "cake": ("sweet", "white", "flour"),
    "honey": ("sweet", "gold", "nectar"),
    "mustard": ("sharp", "yellow", "seeds"),
    "pickle": ("sour", "green", "cucumbers"),
    "ham": ("salty", "pink", "pork"),
    "tea": ("bitter", "brown", "leaves"),
}
# name: place of work, what they do there (third person), tool
JOBS = {
    "baker": ("bakery", "bread", "oven"),
    "smith": ("forge", "horseshoes", "anvil"),
    "potter": ("pottery", "pots", "kiln"),
    "weaver": ("mill", "cloth", "loom"),
    "tailor": ("shop", "shirts", "needle"),
    "carpenter": ("workshop", "tables", "saw"),
    "gardener": ("orchard", "vegetables", "spade"),
    "farmer": ("farm", "wheat", "plough"),
    "fisher": ("harbour", "fish", "net"),
    "shepherd": ("pasture", "wool", "shears"),
    "clerk": ("town hall", "letters", "quill"),
    "cook": ("inn", "soup", "ladle"),
}
TOWNS = ["Dunfield", "Marlow", "Oakham", "Pellworth", "Stonegate", "Riverton", "Harrowby", "Kestrel"]
REGIONS = ["Norland", "Westmark", "Sundale", "Eastreach"]
RIVERS = ["Amber", "Silt", "Wren", "Lode", "Tamble"]
LANDMARKS = ["windmill", "lighthouse", "castle", "clock tower", "bridge", "fountain", "abbey", "statue"]
PRODUCTS = ["lace", "cider", "candles", "barrels", "saddles", "tiles", "violins", "carpets", "bells"]
SETTINGS = ["hill", "coast", "plain", "valley", "island"]
WOMEN = ["Mira", "Odella", "Brisa", "Tamsin", "Linnet", "Petra", "Juno", "Hester", "Wilma", "Nora"]
MEN = ["Tarn", "Osric", "Bertram", "Colm", "Dagan", "Edgar", "Felix", "Gideon", "Hugo", "Ivor"]
PETS = ["cat", "dog", "pony", "parrot", "rabbit", "goose", "ferret", "canary"]
COLOURS = ["red", "blue", "green", "yellow", "white", "black", "purple", "brown"]
HOBBIES = [
    "chess",
    "the flute",
    "the drum",
    "the fiddle",
    "dancing",
    "painting",
    "riddles",
    "archery",
    "singing",
]

GERUNDS = {
    "dig": "digging",
    "cut": "cutting",
    "trim": "trimming",
    "drive": "driving",
    "carve": "carving",
    "serve": "serving",
    "stir": "stirring",
    "make": "making",
    "bake": "baking",
    "write": "writing",
    "tie": "tying",
    "weave": "weaving",
    "shape": "shaping",
    "give": "giving",
    "clip": "clipping",
    "trap": "trapping",
    "fire": "firing",
    "measure": "measuring",
    "untangle": "untangling",
    "mow": "mowing",
    "split": "splitting",
}
