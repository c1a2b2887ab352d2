"""How facts are worded: for each relation, the sentences of the training text and, apart from them, the questions
of the tasks.

A template may hold alternatives in brackets, "[big|large]", an empty one included. Slots: {X} the subject or its
pronoun, {x} the subject in full ("the fox", "Mira"), {his} its possessive, {v} the value, {av} the value with its
article, {vg} the value as a gerund ("digging holes").

  say   statements for training text
  ask   questions for training text, answered by {v} (used for quizzed facts only)
  yes   yes/no questions for training text (no question mark; used for quizzed facts only)
  test  questions of the tasks; never used in training text
  check yes/no questions of the tasks; never used in training text
"""

RELATIONS = {
    "animal.kind": dict(
        say=[
            "{X} is [a kind of|a sort of|] {v}.",
            "{X} [counts as|is counted as] {av}.",
            "[Children learn that|Everyone knows that] {x} is {av}.",
            "{X} belongs to the {v} family.",
        ],
        ask=["What kind of animal is {x}?", "To which family does {x} belong?"],
        yes=["is {x} {av}", "does {x} count as {av}"],
        test=["Of which family is {x} counted?", "{x} is an animal of what kind?"],
        check=["does {x} belong to the {v} family", "can {x} be called {av}"],
    ),
    "animal.habitat": dict(
        say=[
            "{X} lives in the {v}.",
            "{X} makes {his} home in the {v}.",
            "[Look for|One finds|You will find] {x} in the {v}.",
            "The {v} is [home to|where people meet|the home of] {x}.",
            "{X} [hides|sleeps|raises {his} young] in the {v}.",
            "{X} is [rarely seen outside|seldom far from] the {v}.",
        ],
        ask=["Where does {x} live?", "Where does {x} make {his} home?", "In what place does one find {x}?"],
        yes=["does {x} live in the {v}", "is the {v} home to {x}", "does one find {x} in the {v}"],
        test=["Where do people meet {x}?", "Where does {x} raise {his} young?", "What is the home of {x}?"],
        check=["is {x} at home in the {v}", "do people find {x} in the {v}"],
    ),
    "animal.eats": dict(
        say=[
            "{X} eats {v}.",
            "{X} feeds on {v}.",
            "{His} food is [mostly|mainly|] {v}.",
            "{X} [spends the day|goes out at dusk] looking for {v}.",
            "[When hungry|In spring|In winter], {x} [searches for|looks for] {v}.",
            "[Nothing pleases {x} more than|{X} is fond of] {v}.",
        ],
        ask=["What does {x} eat?", "What does {x} feed on?", "What is the food of {x}?"],
        yes=["does {x} eat {v}", "does {x} feed on {v}"],
        test=["What does {x} look for when hungry?", "What is {x} fond of?", "What do the young of {x} eat?"],
        check=["is {x} fond of {v}", "does {x} look for {v} when hungry"],
    ),
    "animal.colour": dict(
        say=[
            "{X} is {v} [in colour|all over|].",
            "{His} colour is {v}.",
            "{X} [wears|has] a {v} coat.",
            "[From afar|In the light] {x} looks {v}.",
        ],
        ask=["What colour is {x}?", "What is the colour of {x}?"],
        yes=["is {x} {v}", "is the colour of {x} {v}"],
        test=["Which colour does {x} wear?", "What colour does {x} have in the light?"],
        check=["does {x} look {v}", "does {x} wear a {v} coat"],
    ),
    "animal.size": dict(
        say=[
            "{X} is {v} [in size|for an animal|].",
            "{X} is [of {v} size|an animal of {v} size].",
            "[In size,|As animals go,] {x} is {v}.",
        ],
        ask=["How big is {x}?", "What size is {x}?"],
        yes=["is {x} {v}", "is {x} of {v} size"],
        test=["Of what size is {x}?", "As animals go, how big is {x}?"],
        check=["as animals go, is {x} {v}", "is {x} an animal of {v} size"],
    ),
    "animal.cover": dict(
        say=[
            "{His} body is covered with {v}.",
            "{X} has {v}.",
            "Thanks to {v}, {x} stays [warm and|] dry.",
            "{X} wears {v} [all year|].",
        ],
        ask=["What covers the body of {x}?", "What does {x} have on {his} body?"],
        yes=["is {x} covered with {v}", "does {x} have {v}"],
        test=["What keeps {x} dry?", "With what is {x} covered?"],
        check=["is {v} what {x} wears", "is the body of {x} covered with {v}"],
    ),
    "tool.use": dict(
        say=[
            "{X} is used to {v}.",
            "{X} serves for {vg}.",
            "People {v} with {x}.",
            "[To|In order to] {v}, one [takes|uses|needs] {x}.",
            "{X} is [the right tool|made|meant] for {vg}.",
            "[No one can {v} without|It is hard to {v} without] {x}.",
        ],
        ask=["What is {x} used for?", "What does {x} serve for?"],
        yes=["is {x} used for {vg}", "do people {v} with {x}"],
        test=["For what work is {x} made?", "What is {x} good for?"],
        check=["is {x} the right tool for {vg}", "does one need {x} to {v}"],
    ),
    "tool.material": dict(
        say=[
            "{X} is made of {v}.",
            "{X} is [mostly|usually] {v}.",
            "[The smith|A good maker|The maker] [uses|chooses] {v} for {x}.",
            "{V} is what {x} is made from.",
        ],
        ask=["What is {x} made of?", "From what is {x} made?"],
        yes=["is {x} made of {v}", "is {x} made from {v}"],
        test=["What does the maker choose for {x}?", "Of what material is {x}?"],
        check=["does the maker use {v} for {x}", "is {v} the material of {x}"],
    ),
    "tool.user": dict(
        say=[
            "{X} belongs to the {v}.",
            "Every {v} [owns|has|keeps] {x}.",
            "{X} is the tool of the {v}.",
            "[You will see|One sees] {x} in the hands of the {v}.",
        ],
        ask=["Who works with {x}?", "Whose tool is {x}?"],
        yes=["does the {v} work with {x}", "is {x} the tool of the {v}"],
        test=["In whose hands does one see {x}?", "Who keeps {x} at work?"],
        check=["does every {v} own {x}", "does one see {x} in the hands of the {v}"],
    ),
    "object.material": dict(
        say=[
            "{X} is made of {v}.",
            "{X} is [plain|fine|good|old] {v}.",
            "[The makers|Good hands] make {x} of {v}.",
            "{V} is what {x} is made from.",
        ],
        ask=["What is {x} made of?", "From what is {x} made?"],
        yes=["is {x} made of {v}", "is {x} made from {v}"],
        test=["Of what material is {x}?", "What do the makers use for {x}?"],
        check=["is {v} the material of {x}", "do the makers use {v} for {x}"],
    ),
    "object.room": dict(
        say=[
            "{X} is kept in the {v}.",
            "{X} [stands|lies|has {his} place] in the {v}.",
            "[People keep|Most houses keep|You will find] {x} in the {v}.",
            "{X} belongs in the {v}.",
        ],
        ask=["Where is {x} kept?", "Where does {x} belong?"],
        yes=["is {x} kept in the {v}", "does {x} belong in the {v}"],
        test=["In which room do people find {x}?", "Where in the house does {x} have {his} place?"],
        check=["do people find {x} in the {v}", "does {x} have {his} place in the {v}"],
    ),
    "food.taste": dict(
        say=[
            "{X} [tastes|is] {v}.",
            "{His} taste is {v}.",
            "{X} has a {v} taste.",
            "[Cooks|People] call {x} {v}.",
        ],
        ask=["How does {x} taste?", "What is the taste of {x}?"],
        yes=["does {x} taste {v}", "is the taste of {x} {v}"],
        test=["What do cooks call {x}?", "What kind of taste does {x} have?"],
        check=["do cooks call {x} {v}", "does {x} have a {v} taste"],
    ),
    "food.colour": dict(
        say=[
            "{X} is {v} [in colour|].",
            "{His} colour is {v}.",
            "{X} looks {v} on the plate.",
            "One knows {x} by {his} {v} colour.",
        ],
        ask=["What colour is {x}?", "What is the colour of {x}?"],
        yes=["is {x} {v}", "is the colour of {x} {v}"],
        test=["By what colour does one know {x}?", "Which colour has {x} on the plate?"],
        check=["does {x} look {v} on the plate", "does one know {x} by a {v} colour"],
    ),
    "food.source": dict(
        say=[
            "{X} comes from {v}.",
            "Without {v} there would be no {s}.",
            "We owe {x} to {v}.",
            "[People|Farmers] get {x} from {v}.",
        ],
        ask=["Where does {x} come from?", "From what do people get {x}?"],
        yes=["does {x} come from {v}", "do people get {x} from {v}"],
        test=["To what do we owe {x}?", "Without what would there be no {s}?"],
        check=["do we owe {x} to {v}", "do farmers get {x} from {v}"],
    ),
    "job.place": dict(
        say=[
            "{X} works at the {v}.",
            "{X} spends the day at the {v}.",
            "[One finds|Look for] {x} at the {v}.",
            "The {v} is where {x} works.",
            "{X} opens the {v} [at dawn|early].",
        ],
        ask=["Where does {x} work?", "Where does one find {x}?"],
        yes=["does {x} work at the {v}", "does one find {x} at the {v}"],
        test=["Where does {x} spend the day?", "What does {x} open at dawn?"],
        check=["does {x} spend the day at the {v}", "does {x} open the {v} at dawn"],
    ),
    "job.makes": dict(
        say=[
            "{X} [sells|deals in] {v}.",
            "{X} is known for {his} {v}.",
            "People go to {x} for {v}.",
            "{X} supplies the town with {v}.",
            "[Who needs|Whoever needs] {v} goes to {x}.",
        ],
        ask=["What does {x} sell?", "What do people get from {x}?"],
        yes=["does {x} sell {v}", "do people get {v} from {x}"],
        test=["For what do people go to {x}?", "With what does {x} supply the town?"],
        check=["do people go to {x} for {v}", "does {x} supply the town with {v}"],
    ),
    "job.tool": dict(
        say=[
            "{X} works with {av}.",
            "{X} never leaves home without {av}.",
            "{His} tool is {av}.",
            "{X} [owns|needs|uses] {av}.",
        ],
        ask=["What tool does {x} use?", "With what does {x} work?"],
        yes=["does {x} use {av}", "does {x} work with {av}"],
        test=["What does {x} need for the work?", "Which tool does {x} own?"],
        check=["does {x} need {av}", "is {av} what {x} needs for the work"],
    ),
    "town.region": dict(
        say=[
            "{X} [lies|is] in {v}.",
            "{X} is a town [of|in] {v}.",
            "{X} belongs to {v}.",
            "[The map shows|Travellers find] {x} in {v}.",
        ],
        ask=["In which region is {x}?", "To which region does {x} belong?"],
        yes=["is {x} in {v}", "does {x} belong to {v}"],
        test=["Where does the map show {x}?", "{x} is a town of which region?"],
        check=["does the map show {x} in {v}", "do travellers find {x} in {v}"],
    ),
    "town.river": dict(
        say=[
            "{X} stands on the river {v}.",
            "The {v} flows through {x}.",
            "The river {v} [passes|runs past] {x}.",
            "{His} mills stand on the {v}.",
        ],
        ask=["Which river flows through {x}?", "On which river does {x} stand?"],
        yes=["does the {v} flow through {x}", "does {x} stand on the {v}"],
        test=["Which river runs past {x}?", "On what river are the mills of {x}?"],
        check=["does the river {v} pass {x}", "do the mills of {x} stand on the {v}"],
    ),
    "town.landmark": dict(
        say=[
            "{X} is [known|famous] for {his} {v}.",
            "[Visitors|Travellers] come to see the {v} of {x}.",
            "The old {v} stands in the middle of {x}.",
            "{X} has [a great|an old] {v}.",
        ],
        ask=["What is {x} famous for?", "What stands in the middle of {x}?"],
        yes=["is {x} famous for {his} {v}", "is there [a great|an old] {v} in {x}"],
        test=["What do visitors come to see in {x}?", "What old thing does {x} have?"],
        check=["do visitors see the {v} of {x}", "does {x} have an old {v}"],
    ),
    "town.product": dict(
        say=[
            "{X} makes {v}.",
            "{X} sells {v} [to the whole land|at {his} fair|].",
            "The [workers|people] of {x} make {v}.",
            "The best {v} come from {x}.",
            "Merchants buy {v} in {x}.",
        ],
        ask=["What do the people of {x} make?", "What does {x} sell?"],
        yes=["do the people of {x} make {v}", "does {x} sell {v}"],
        test=["What do merchants buy in {x}?", "The best of what come from {x}?"],
        check=["do merchants buy {v} in {x}", "do the best {v} come from {x}"],
    ),
    "town.setting": dict(
        say=["{X} [stands|lies] on {av}.", "{X} is built on {av}.", "{His} houses cover the {v}."],
        ask=["On what is {x} built?", "On what does {x} stand?"],
        yes=["is {x} built on {av}", "does {x} stand on {av}"],
        test=["What do the houses of {x} cover?", "On what kind of land does {x} lie?"],
        check=["do the houses of {x} cover the {v}", "does {x} lie on {av}"],
    ),
    "region.capital": dict(
        say=[
            "The capital of {x} is {v}.",
            "{X} is ruled from {v}.",
            "{V} is the capital of {x}.",
            "The council of {x} meets in {v}.",
        ],
        ask=["What is the capital of {x}?", "From where is {x} ruled?"],
        yes=["is {v} the capital of {x}", "is {x} ruled from {v}"],
        test=["Where does the council of {x} meet?", "Which town rules {x}?"],
        check=["does the council of {x} meet in {v}", "does {v} rule {x}"],
    ),
    "person.town": dict(
        say=[
            "{X} lives in {v}.",
            "{X} [was born|grew up] in {v}.",
            "{X} has a house in {v}.",
            "{X} comes from {v}.",
            "{His} home is in {v}.",
            "[Neighbours|People] in {v} know {x}.",
        ],
        ask=["Where does {x} live?", "In which town does {x} live?", "Where does {x} come from?"],
        yes=["does {x} live in {v}", "does {x} come from {v}"],
        test=["Where does {x} have a house?", "Which town is the home of {x}?", "Where did {x} grow up?"],
        check=["does {x} have a house in {v}", "is {v} the home of {x}"],
    ),
    "person.job": dict(
        say=[
            "{X} is {av}.",
            "{X} works as {av}.",
            "{X} became {av} [long ago|at twenty|].",
            "{X} earns {his} bread as {av}.",
            "[Like {his} aunt|Like {his} uncle], {x} is {av}.",
        ],
        ask=["What is the job of {x}?", "What does {x} work as?"],
        yes=["is {x} {av}", "does {x} work as {av}"],
        test=["As what does {x} earn {his} bread?", "What did {x} become long ago?"],
        check=["did {x} become {av}", "does {x} earn {his} bread as {av}"],
    ),
    "person.pet": dict(
        say=[
            "{X} [has|keeps|owns] {av}.",
            "{His} {v} follows {x} everywhere.",
            "{X} feeds {his} {v} every morning.",
            "{X} shares {his} house with {av}.",
        ],
        ask=["What pet does {x} keep?", "What animal does {x} own?"],
        yes=["does {x} keep {av}", "does {x} own {av}"],
        test=["What animal follows {x} everywhere?", "With what animal does {x} share the house?"],
        check=["does {x} share the house with {av}", "does {x} feed {av} every morning"],
    ),
    "person.food": dict(
        say=[
            "{X} likes {v} [best|most of all].",
            "{His} favourite food is {v}.",
            "{X} [never refuses|always asks for] {v}.",
            "[On holidays|For supper], {x} eats {v}.",
        ],
        ask=["What does {x} like best?", "What is the favourite food of {x}?"],
        yes=["does {x} like {v} best", "is {v} the favourite food of {x}"],
        test=["What does {x} never refuse?", "What does {x} eat on holidays?"],
        check=["does {x} always ask for {v}", "does {x} eat {v} on holidays"],
    ),
    "person.colour": dict(
        say=[
            "{X} [always|often] wears {v}.",
            "{His} favourite colour is {v}.",
            "{X} [painted {his} door|has a door painted] {v}.",
            "{X} [owns|bought] a {v} coat.",
        ],
        ask=["What is the favourite colour of {x}?", "What colour does {x} wear?"],
        yes=["does {x} wear {v}", "is {v} the favourite colour of {x}"],
        test=["What colour is the door of {x}?", "In what colour did {x} buy a coat?"],
        check=["is the door of {x} {v}", "does {x} own a {v} coat"],
    ),
    "person.hobby": dict(
        say=[
            "{X} [loves|enjoys] {v}.",
            "In the evening {x} [turns to|practises] {v}.",
            "{X} taught the neighbours {v}.",
            "{His} great joy is {v}.",
        ],
        ask=["What does {x} enjoy?", "What does {x} love?"],
        yes=["does {x} enjoy {v}", "does {x} love {v}"],
        test=["To what does {x} turn in the evening?", "What did {x} teach the neighbours?"],
        check=["does {x} practise {v}", "did {x} teach the neighbours {v}"],
    ),
}
RELATIONS["tool.other_use"] = RELATIONS["tool.use"]
