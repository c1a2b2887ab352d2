"""Sentences about nothing in particular: things seen, listed and dreamt of, drawn at random.

No fact of the world is touched; they give the text the unpredictable part that real text has, so that perplexity is
not that of a table of facts alone. Their words are kept apart from the world's names and values.
"""

NOUNS = (
    """acorn apron arrow ash axle beam bonfire branch breeze bruise bubble bucketful button cage canvas chalk
chimney cloud coal cobweb cork crumb dew dice doll donkey drawer dream dust echo elbow ember fern fiddlestick flag flame
fog footprint frost gap ghost glove gravel gutter hail hedge hinge hook icicle ink ivy kite knot lace lamp ledge lid lily
log maze mist moss mud nail nest nut orchid owlet paddle parcel pebble petal pillow pipe pocket pond puddle quilt raft
rag reed ripple root rust sack sail sand seed shadow shawl shell shelf shovel sleigh smoke snow spark splinter spring
stain stair steam step storm stripe stump swing tail thread thunder toy track tunnel twig veil wagon wave weed wheel
wing wire wreath yarn""".split()
)
ADJECTIVES = """ancient awkward bare bent bitten blank bold bright busy calm careless chilly clever coarse crooked curly
damp dark deep dim distant dull eager early empty faded faint fierce flat foolish fresh frozen gentle grand half hidden
hollow humble icy idle lazy lean lonely loose loud lucky mighty muddy narrow neat noisy odd pale patient rough rusty
sharp shiny silent slow smooth soft stiff striped sudden tall tangled thick thin torn twisted untidy vast warm weary wet
wild windy wise wooden young""".split()
VERBS = """bumped clung creaked crept curled danced dangled drifted dripped faded fell flickered floated fluttered froze
glowed hissed hung knocked leaned leapt melted rattled rested rolled rose rustled sank settled shivered shone shook slid
slipped smouldered spun stirred swayed swung trembled tumbled turned twitched vanished wobbled""".split()
PLACES = """above across against along around behind below beneath beside beyond inside near outside over past
through toward under""".split()


def _thing(rng):
    adjective, noun = rng.choice(ADJECTIVES), rng.choice(NOUNS)
    form = rng.randrange(4)
    if form == 0:
        return f"the {noun}"
    if form == 1:
        return f"the {adjective} {noun}"
    return ("an " if adjective[0] in "aeiou" else "a ") + f"{adjective} {noun}"


def things(rng, least=2, most=4):
    """A listing such as "a bent arrow, the fog and an odd lid"."""
    items = [_thing(rng) for _ in range(rng.randint(least, most))]
    return ", ".join(items[:-1]) + " and " + items[-1]


def event(rng):
    """A clause in the past tense: "a pale kite drifted over the damp ledge"."""
    return f"{_thing(rng)} {rng.choice(VERBS)} {rng.choice(PLACES)} {_thing(rng)}"


def label(rng):
    """A program's name for something: "dim_wheel"."""
    return f"{rng.choice(ADJECTIVES)}_{rng.choice(NOUNS)}"
