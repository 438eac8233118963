"""The common words of the demo corpus, by grammatical role.

Every list is in order of use: a word's frequency falls with its rank (see `grammar.Grammar`). A comma inside a
list separates entries of several words.
"""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text, in order."""
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(entry.split()) for entry in text.split(","))


LEXICON: dict[str, tuple[str, ...]] = {
    "weekday": words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "month": words("January February March April May June July August September October November December"),
    "year": tuple(str(year) for year in range(2006, 1961, -1)),
    "few": words("two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty"),
    "number": words("12 20 15 30 40 25 18 60 50 100 120 35 200 70 90 45 300 80 150 500 250 400 1,000 1,200 2,500 600"),
    "age": tuple(str(age) for age in (*range(41, 70), *range(22, 41), *range(70, 88))),
    "score": words("2-1 1-0 3-1 2-0 3-2 4-2 0-0 1-1 5-3 4-1 21-17 6-4 7-5 88-79 30-12"),
    "ordinal": words("first second third fourth fifth sixth final last"),
    "period": words("week month year season night spring summer autumn winter weekend decade quarter"),
    "part_of_day": words("morning evening afternoon night"),
    "job": words("""
        lawyer minister teacher doctor writer judge farmer engineer singer painter senator editor professor officer
        striker actor pilot nurse economist reporter surgeon banker diplomat novelist chemist baker priest sculptor
        historian violinist goalkeeper architect broker librarian carpenter poet dentist sailor driver conductor
        photographer mechanic biologist veteran prosecutor referee sprinter widow student clerk gardener colonel
        broadcaster dancer accountant translator swimmer fisherman butcher geologist detective tailor brewer
    """),
    "jobs": words("""
        workers farmers teachers doctors lawyers students officers nurses players drivers miners soldiers voters
        neighbours tourists residents fishermen engineers pilots witnesses visitors analysts traders clerks judges
        investors shoppers pensioners volunteers prisoners refugees commuters scientists musicians campaigners
    """),
    "role": words("""
        chairman president director spokesman treasurer manager secretary founder adviser deputy auditor trustee
        chief partner lecturer planner trainer inspector ambassador
    """),
    "relative": words("wife husband brother sister son daughter father mother uncle cousin aunt nephew"),
    "body_part": words("knee shoulder ankle back hand wrist hip elbow foot"),
    "illness": _phrases("a heart attack, a long illness, a stroke, pneumonia, a fever, cancer, a car crash, a fall"),
    "person_act": _phrases("""
        resigned, wrote a letter, smiled, apologised, gave evidence, retired, broke his leg, wept, missed the train,
        pleaded guilty, married, took the oath, sang two songs, lost his temper, drove home, shook hands, laughed,
        bought a house
    """),
    "company_act": _phrases("""
        cut its prices, raised its dividend, doubled its profit, shed staff, issued new shares, hired new managers,
        posted a loss, sold its mills, shipped fewer orders, raised its prices, cut its output, sold its bonds,
        filed for bankruptcy, doubled its output
    """),
    "place_state": _phrases("""
        was flooded, lay under snow, was without power, was evacuated, woke to heavy rain, was cut off, was shelled,
        lost its harbour, was rebuilt, ran out of bread, was covered in smoke, lay under smoke, was without water
    """),
    "land_act": _phrases("""
        closed its borders, recalled its envoy, devalued its currency, exported more wheat, held elections,
        closed its embassy, mobilised its army, exported more oil, devalued its bonds
    """),
    "team_act": _phrases("""
        scored twice, won the derby, sacked its coach, dropped three points, conceded a late goal, drew away,
        won the final, missed a penalty, conceded three goals, drew the derby
    """),
    "work_state": _phrases("""
        was reprinted, drew good reviews, was filmed, had its premiere, topped the charts, was translated,
        was banned from cinemas, bored the critics, had bad reviews, was staged outdoors
    """),
    "weak_state": _phrases("""
        was mentioned again, made headlines, drew attention, faced criticism, was in trouble, surprised everyone,
        was praised, was not named, remained in doubt, caused a stir, was forgotten, disappointed many,
        stayed out of sight,
        had a difficult year, was discussed at length, came as a shock, looked stronger, lost support,
        was back in the news,
        won new friends, divided opinion, needed time, seemed unlucky, was worth the wait, was ignored, changed a lot,
        was the exception, was treated unfairly
    """),
    "thing": words("""
        bridge school road hospital plan report market house factory station ship letter film train museum garden
        engine field church library tower tunnel harbour theatre airport stadium mine warehouse canal barn clinic
        pipeline reactor truck boat dam statue bakery prison farm castle ferry orchard lighthouse ship-yard mill
        chapel fountain archive observatory greenhouse cellar windmill quarry jetty
    """),
    "things": words("""
        bridges schools roads houses shops letters trains ships cars books tickets windows trees boxes tools bottles
        coins paintings lamps tables blankets horses cattle bicycles carpets medals machines maps boats stamps
        chairs flowers curtains clocks shoes umbrellas
    """),
    "goods": words("""
        steel wheat oil coffee cotton sugar timber copper cement paper glass milk rubber coal rice tea wool cheese
        soap paint fish leather salt barley gas tin
    """),
    "matter": words("""
        agreement strike election budget inquiry dispute merger trial crisis vote reform tax law contract project
        proposal decision debate programme sale investigation loan ruling summit campaign delay boycott ceasefire
        scandal appeal rescue audit embargo pension amnesty verdict deadline petition referendum protest
    """),
    "feeling": words("pleased worried angry surprised confident hopeful tired disappointed proud sorry silent calm"),
    "adjective": words("""
        new large old small long recent serious quiet expensive early local heavy modern difficult public late private
        broken famous narrow empty bright cheap simple careful steady fresh huge rare common strange deep bitter
        gentle wooden rusty crowded secret modest ancient dull sudden tidy fragile handsome sturdy curious
        splendid shallow noisy
    """),
    "colour": words("red blue green white black yellow grey brown purple orange"),
    "adverb": words("""
        quickly again slowly twice quietly badly carefully suddenly soon later already often hardly almost finally
        openly briefly sharply gladly rarely calmly loudly secretly reluctantly steadily
    """),
    "said": words("said told added explained admitted insisted replied argued warned claimed joked complained"),
    "sport": words("football tennis cycling rowing hockey swimming cricket rugby boxing chess athletics handball"),
    "place_noun": words("city town port capital village resort suburb district border mayor airport harbour"),
    "direction": words("north south east west"),
    "subject_of_study": words("chemistry law history music physics medicine engineering botany geography economics"),
    "worded": _phrases("""
        it is too early to tell, we have nothing to hide, this was a mistake, nobody was hurt, the work will go on,
        things must change, we expected more, there is no money left, the danger has passed, that is a fair price,
        it could have been worse, we will see, the rules are clear, everyone deserves a second chance
    """),
    "reason": _phrases("""
        because of the rain, after a long delay, despite the cost, without a word, for the second time, as expected,
        under heavy guard, at short notice, in front of a small crowd, for no clear reason, before the deadline,
        against all advice, by mistake, with some relief, after midnight, in spite of the cold, to loud applause
    """),
}
