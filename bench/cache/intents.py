"""What people ask, in several wordings, for the generator of paraphrases and traps.

All of it was written for this benchmark, none of it taken from a data set. A value `a=b` has two spellings.
"""

from msgspec import Struct

__all__ = ["INTENTS", "Intent"]


class Intent(Struct, frozen=True):
    """One thing that is asked for."""

    ways: tuple[str, ...]
    """Wordings that ask for the same; slots stand in braces."""
    slots: dict[str, tuple[str, ...]] = {}
    """What a slot may hold; two values of one slot have different answers."""
    others: tuple[str, ...] = ()
    """Questions that look alike and have another answer."""


_CITIES = ("Lisbon", "Oslo", "Vienna", "Prague", "Dublin", "Madrid", "Turin", "Lyon", "Geneva", "Gdansk", "Bergen")
_APPS = ("Slack", "Notion", "Dropbox", "Figma", "Zoom", "Trello", "Asana", "Airtable", "Miro", "Basecamp")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_COUNTRIES = ("Norway", "Chile", "Japan", "Kenya", "Portugal", "Canada", "Vietnam", "Iceland", "Peru", "Ghana")
_FORMATS = ("PDF", "DOCX", "CSV", "PNG", "JPEG", "EPUB", "Markdown", "HTML", "XML", "TIFF")
_ACCOUNTS = ("savings", "current", "business", "joint", "pension", "brokerage")
_LANGUAGES = ("Python", "Rust", "Kotlin", "Ruby", "Scala", "Haskell", "Elixir", "Perl", "Swift", "Lua")
_MEDICINES = ("metformin", "warfarin", "sertraline", "naproxen", "cetirizine", "ramipril", "codeine", "loratadine")
_MONTHS = ("January", "February", "April", "June", "July", "August", "October", "November")
_COUNTS = ("2=two", "3=three", "5=five", "8=eight", "12=twelve", "20=twenty", "30=thirty", "90=ninety")
_GROUPS = ("students", "pensioners", "veterans", "nurses", "freelancers", "visitors", "apprentices", "trustees")
_OFFENCES = ("littering", "speeding", "busking", "fly-tipping", "jaywalking", "smoking on trains", "late returns")
_PEOPLE = ("Plato", "Aristotle", "Mozart", "Liszt", "Bohr", "Heisenberg", "Turing", "Church")

INTENTS: tuple[Intent, ...] = (
    Intent(
        ("How do I reset my {app} password?", "How can I reset the password for {app}?",
         "What's the way to reset my {app} password?", "I forgot my {app} password, what do I do?"),
        {"app": _APPS},
        ("How do I delete my {app} account?", "How do I share my {app} password?",
         "Why was my {app} password reset?",
         "How long is my {app} password?", "Can I reset my {app} password?"),
    ),
    Intent(
        ("How do I export my data from {app}?", "How can I export data out of {app}?",
         "What's the best way to export my {app} data?", "I want to get all my things out of {app}"),
        {"app": _APPS},
        ("How do I import my data into {app}?", "How do I export my contacts from {app}?",
         "How much does it cost to export my data from {app}?"),
    ),
    Intent(
        ("What time does the {city} office open on {day}?", "When does the {city} office open on {day}?",
         "On {day}, when does the {city} office open?", "What are the opening hours in {city} on {day}?"),
        {"city": _CITIES, "day": _DAYS},
        ("What time does the {city} office close on {day}?", "Is the {city} office open on {day}?",
         "Where is the {city} office?"),
    ),
    Intent(
        ("How long is the flight from {city} to {city2}?", "How long does it take to fly from {city} to {city2}?",
         "What is the duration of the flight from {city} to {city2}?"),
        {"city": _CITIES, "city2": _CITIES},
        ("How much is the flight from {city} to {city2}?", "How long is the train from {city} to {city2}?",
         "How often are flights from {city} to {city2}?"),
    ),
    Intent(
        ("How do I convert a {fmt} file to {fmt2}?", "How can I convert {fmt} files to {fmt2}?",
         "What's the easiest way to convert a {fmt} file to {fmt2}?", "I have a {fmt} and need a {fmt2}"),
        {"fmt": _FORMATS, "fmt2": _FORMATS},
        ("How do I compare a {fmt} file to {fmt2}?", "How do I attach a {fmt} file to {fmt2}?"),
    ),
    Intent(
        ("How do I move money from my {account} account to my {account2} account?",
         "How can I move cash from my {account} account to my {account2} account?",
         "What is the process for moving money from my {account} account to my {account2} account?"),
        {"account": _ACCOUNTS, "account2": _ACCOUNTS},
        ("How do I hide money from my {account} account to my {account2} account?",),
    ),
    Intent(
        ("Do I need a visa for {country}?", "Must I have a visa for {country}?", "Is a visa needed for {country}?",
         "Can't I just travel to {country} with my passport?"),
        {"country": _COUNTRIES},
        ("Do I need a vaccination for {country}?", "How do I get a visa for {country}?",
         "How long is a visa for {country}?", "Do I need a work visa for {country}?"),
    ),
    Intent(
        ("What is the capital of {country}?", "Which city is the capital of {country}?",
         "What's {country}'s capital?", "Tell me the capital of {country}"),
        {"country": _COUNTRIES},
        ("What is the currency of {country}?", "What is the population of {country}?",
         "What was the old capital of {country}?"),
    ),
    Intent(
        ("Can I take {medicine} with alcohol?", "Is it OK to take {medicine} with alcohol?",
         "May I take {medicine} with alcohol?", "Is drinking fine while I'm on {medicine}?"),
        {"medicine": _MEDICINES},
        ("Can I take {medicine} without alcohol?", "Can I take {medicine} with food?",
         "Must I take {medicine} with alcohol?", "Can I store {medicine} with alcohol?"),
    ),
    Intent(
        ("How many {medicine} tablets can I take in {count} hours?",
         "What's the number of {medicine} tablets I can take in {count} hours?",
         "In {count} hours, how many {medicine} tablets can I take?"),
        {"medicine": _MEDICINES, "count": _COUNTS},
        ("How many {medicine} tablets can I take in {count} days?",
         "How many {medicine} tablets can a child take in {count} hours?"),
    ),
    Intent(
        ("How do I sort a list in {lang}?", "How can I sort a list in {lang}?",
         "What's the way to sort a list in {lang}?",
         "Sorting lists in {lang}, how?"),
        {"lang": _LANGUAGES},
        ("How do I sort a map in {lang}?", "How do I reverse a list in {lang}?",
         "How do I sort a list without {lang}?",
         "How does {lang} sort a list?"),
    ),
    Intent(
        ("How do I read a file line by line in {lang}?", "How can I read files line by line in {lang}?",
         "What is the best way to read a file line by line in {lang}?"),
        {"lang": _LANGUAGES},
        ("How do I write a file line by line in {lang}?", "How do I read a file word by word in {lang}?",
         "Is it slow to read a file line by line in {lang}?"),
    ),
    Intent(
        ("Is there a discount for {group}?", "Do you have a discount for {group}?",
         "For {group}, is there a discount?",
         "Do {group} pay less?"),
        {"group": _GROUPS},
        ("Is there a surcharge for {group}?", "Is there no discount for {group}?",
         "How big is the discount for {group}?",
         "Is there a discount for retired {group}?"),
    ),
    Intent(
        ("How do I cancel my booking for {month}?", "How can I cancel my {month} booking?",
         "What do I need to do to cancel my booking for {month}?", "I can't come in {month} after all"),
        {"month": _MONTHS},
        ("How do I confirm my booking for {month}?", "How do I change my booking for {month}?",
         "Can I cancel my booking for {month}?", "How do I cancel your booking for {month}?"),
    ),
    Intent(
        ("What was our revenue in {month}?", "How much was our revenue in {month}?",
         "In {month}, what was our revenue?"),
        {"month": _MONTHS},
        ("What was our cost in {month}?", "What will our revenue be in {month}?",
         "Why was our revenue low in {month}?"),
    ),
    Intent(
        ("What happens if I pay my rent {count} days late?", "What happens when I pay the rent {count} days late?",
         "If I pay my rent {count} days late, what happens?"),
        {"count": _COUNTS},
        ("What happens if I pay my rent {count} days early?", "What happens if I pay my rent {count} weeks late?",
         "What happens if I don't pay my rent {count} days late?"),
    ),
    Intent(
        ("Can I return shoes after {count} days?", "Is it possible to return shoes after {count} days?",
         "Am I able to return shoes after {count} days?",
          "My trainers are {count} days old, will you take them back?"),
        {"count": _COUNTS},
        ("Can I return shoes before {count} days?", "Can I return boots after {count} days?",
         "How do I return shoes after {count} days?", "Can I return worn shoes after {count} days?"),
    ),
    Intent(
        ("How do I water a {plant}?", "How can I water my {plant}?", "What's the right way to water a {plant}?",
         "My {plant} looks dry, what now?"),
        {"plant": ("cactus", "fern", "monstera", "bonsai", "lavender", "basil", "begonia", "ficus")},
        ("How do I prune a {plant}?", "How often do I water a {plant}?", "How do I water a sick {plant}?"),
    ),
    Intent(
        ("Which {kind} is the cheapest?", "What is the cheapest {kind}?", "Which {kind} costs least?"),
        {"kind": ("laptop", "phone plan", "mattress", "printer", "bicycle", "camera", "dishwasher", "kettle")},
        ("Which {kind} is the most expensive?", "Which {kind} is the lightest?",
         "Which used {kind} is the cheapest?"),
    ),
    Intent(
        ("How do I turn on {feature}?", "How can I enable {feature}?",
         "What do I have to do to switch on {feature}?",
         "Where's the setting for {feature}?"),
        {"feature": ("dark mode", "location sharing", "read receipts", "auto-save", "captions", "roaming",
         "parental controls")},
        ("How do I turn off {feature}?", "Why is {feature} on?",
         "Who can turn on {feature}?"),
    ),
    Intent(
        ("How do I add a {thing} to my {place}?", "How can I add a {thing} to my {place}?",
         "What are the steps to add a {thing} to my {place}?"),
        {"thing": ("user", "comment", "photo", "filter", "signature", "webhook"),
         "place": ("project", "document", "profile", "dashboard", "account", "channel")},
        ("How do I remove a {thing} from my {place}?", "How do I edit a {thing} in my {place}?",
         "Can I add a {thing} to my {place}?", "Can guests add a {thing} to my {place}?"),
    ),
    Intent(
        ("What does error {code} mean?", "What is the meaning of error {code}?", "What's error {code}?",
         "I keep seeing {code}, help"),
        {"code": ("E1042", "E1024", "E2042", "X77", "X78", "HTTP-502", "HTTP-504", "ORA-1017", "ORA-1071")},
        ("How do I fix error {code}?", "Why do I get error {code}?"),
    ),
    Intent(
        ("Who wrote {book}?", "Who is the author of {book}?", "Tell me who wrote {book}"),
        {"book": ("Middlemarch", "Dracula", "Emma", "Ulysses", "Walden", "Candide", "Persuasion", "Villette")},
        ("Who published {book}?", "When did somebody write {book}?", "Who hated {book}?"),
    ),
    Intent(
        ("When was {person} born?", "On what date was {person} born?", "What day was {person} born?"),
        {"person": ("Ada Lovelace", "Marie Curie", "Alan Turing", "Emmy Noether", "Niels Bohr", "Grace Hopper")},
        ("When did {person} die?", "Where was {person} born?", "When was the father of {person} born?"),
    ),
    Intent(
        ("What is {count} percent of {base}?", "What's {count}% of {base}?",
         "How much is {count} percent of {base}?"),
        {"count": ("4", "7", "15=fifteen", "35", "60=sixty"), "base": ("90", "120", "450", "1,500=1500", "2000")},
        ("What is {count} plus {base}?", "What is {count} times {base}?"),
    ),
    Intent(
        ("How far is {city} from {city2}?", "What's the distance from {city2} to {city}?",
         "How far away from {city2} is {city}?"),
        {"city": _CITIES, "city2": _CITIES},
        ("How big is {city} next to {city2}?", "How far is the airport of {city} from {city2}?"),
    ),
    Intent(
        ("Does the {dish} contain {allergen}?", "Is there any {allergen} in the {dish}?",
         "Is {allergen} in the {dish}?"),
        {"dish": ("lasagne", "ramen", "paella", "moussaka", "risotto", "goulash"),
         "allergen": ("gluten", "milk", "sesame", "celery", "mustard", "soy")},
        ("Can I have the {dish} without {allergen}?", "Does the {dish} sauce contain {allergen}?"),
    ),
    Intent(
        ("How do I apply for a {paper}?", "How can I apply for a {paper}?",
         "What is the process to apply for a {paper}?",
         "Hand me the form for the {paper}"),
        {"paper": ("fishing licence", "building permit", "student loan", "bus pass", "work permit", "press card")},
        ("How do I renew a {paper}?", "Who can apply for a {paper}?",
         "How long does it take to apply for a {paper}?",
         "How do I apply for a replacement {paper}?"),
    ),
    Intent(
        ("How much does it cost to repair a {thing}?", "What does it cost to fix a {thing}?",
         "What's the price of mending a {thing}?", "How expensive is it to repair a {thing}?"),
        {"thing": ("boiler", "window", "fridge", "zip", "roof tile", "windscreen", "tap", "fence")},
        ("How much does it cost to replace a {thing}?", "How long does it take to repair a {thing}?",
         "How much does it cost not to repair a {thing}?", "How much did it cost to repair a {thing}?"),
    ),
    Intent(
        ("Is the {line} line running on {day}?", "On {day}, is the {line} line running?",
         "Does the {line} line run on {day}?"),
        {"line": ("Red", "Blue", "Green", "Harbour", "Airport"), "day": _DAYS},
        ("Is the {line} line late on {day}?", "Isn't the {line} line running on {day}?",
         "Is the {line} line running before {day}?"),
    ),
    Intent(
        ("What should I eat before {event}?", "What should I eat ahead of {event}?",
         "Before {event}, what should I eat?"),
        {"event": ("surgery", "a marathon", "an exam", "a blood test", "a long flight", "swimming")},
        ("What should I eat after {event}?", "What should I avoid before {event}?",
         "When should I eat before {event}?",
         "What should I not eat before {event}?"),
    ),
    Intent(
        ("Can my {who} use my {item}?", "Is my {who} allowed to use my {item}?", "May my {who} use my {item}?"),
        {"who": ("brother", "flatmate", "colleague", "daughter", "carer", "neighbour"),
         "item": ("railcard", "gym pass", "parking permit", "library card", "season ticket")},
        ("Can I use my {who}'s {item}?", "Can my {who} sell my {item}?", "Must my {who} use my {item}?"),
    ),
    Intent(
        ("How do I grant {role} access to a folder?", "How can I grant {role} access to a folder?",
         "How do I give {role} access to a folder?"),
        {"role": ("editor", "viewer", "owner", "auditor", "guest")},
        ("How do I revoke {role} access to a folder?", "How do I request {role} access to a folder?",
         "Does {role} access apply to a folder?"),
    ),
    Intent(
        ("Translate '{word}' into {tongue}", "How do you say '{word}' in {tongue}?",
         "What is '{word}' in {tongue}?"),
        {"word": ("good night", "thank you", "see you soon", "cheese", "left luggage"),
         "tongue": ("Danish", "Finnish", "Welsh", "Czech", "Maltese", "Basque")},
        ("Spell '{word}' in {tongue}", "Who says '{word}' in {tongue}?"),
    ),
    Intent(
        ("How many {unit} are in a {unit2}?", "How many {unit} does a {unit2} have?",
         "What number of {unit} is in a {unit2}?"),
        {"unit": ("ounces", "teaspoons", "pints", "inches", "minutes"),
         "unit2": ("gallon", "cup", "yard", "fortnight", "barrel", "quart")},
        ("How heavy are {unit} in a {unit2}?",),
    ),
    Intent(
        ("Is {city} safer than {city2}?", "Is it safer in {city} than in {city2}?"),
        {"city": _CITIES, "city2": _CITIES},
        ("Is {city} cheaper than {city2}?", "Is {city} as safe as {city2}?", "Is {city} less safe than {city2}?"),
    ),
    Intent(
        ("Can I be fined for {offence}?", "Can I get fined for {offence}?",
         "Is it possible for me to be fined for {offence}?"),
        {"offence": _OFFENCES},
        ("Can I fine somebody for {offence}?", "How much is the fine for {offence}?",
         "Can I be arrested for {offence}?", "Must I be fined for {offence}?"),
    ),
    Intent(
        ("Am I charged by {app} for refunds?", "Does {app} charge me for refunds?",
         "Will {app} charge me for refunds?"),
        {"app": _APPS},
        ("Do I charge {app} for refunds?", "When does {app} pay refunds?", "Does {app} refund charges?"),
    ),
    Intent(
        ("How do I get paid by {app}?", "How am I paid by {app}?", "In what way does {app} pay me?"),
        {"app": _APPS},
        ("How do I pay {app}?", "When do I get paid by {app}?", "How much am I paid by {app}?"),
    ),
    Intent(
        ("Is there parking at the {city} hotel?", "Is there parking available at the {city} hotel?",
         "Do you have parking at the {city} hotel?", "Is parking available at the {city} hotel?"),
        {"city": _CITIES},
        ("Is there free parking at the {city} hotel?", "How much is parking at the {city} hotel?",
         "Is there parking for coaches at the {city} hotel?", "Is there parking near the {city} hotel?"),
    ),
    Intent(
        ("Is lunch included for {group}?", "Do {group} get lunch included?", "Is lunch included for all {group}?"),
        {"group": _GROUPS},
        ("Is lunch excluded for {group}?", "Do {group} get a discount on lunch?", "Is lunch served by {group}?"),
    ),
    Intent(
        ("Where is the nearest clinic in {city}?", "Where can I find the nearest clinic in {city}?",
         "Where do I find the nearest clinic in {city}?", "I want to know where the nearest clinic in {city} is"),
        {"city": _CITIES},
        ("Where is the largest clinic in {city}?", "When is the nearest clinic in {city} open?",
         "Where is the nearest clinic for children in {city}?"),
    ),
    Intent(
        ("Was {person} taught by {person2}?", "Did {person2} teach {person}?"),
        {"person": _PEOPLE, "person2": _PEOPLE},
        ("Was {person} praised by {person2}?", "Was {person} ever met by {person2}?"),
    ),
)  # fmt: skip
