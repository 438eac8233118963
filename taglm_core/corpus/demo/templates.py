"""The sentences of the demo corpus, one template a line; `grammar` explains the notation."""

from __future__ import annotations

PHRASES: dict[str, str] = {
    "when": "on ~weekday/last ~period/~few ~unit ago/in ~month/on ~weekday ~part_of_day/late on ~weekday/in ~year",
    "when_then": "on ~weekday/~when/in the ~part_of_day/on ~month ~day/the day before/during the ~period",
    "unit": "days/weeks/months/years/hours",
    "day": "/".join(str(day) for day in range(1, 31)),
    "money": "$ ~number million/~number million dollars/$ ~number/~number billion dollars/~number cents",
    "a_thing": "a ~thing/the ~thing/a ~adjective ~thing/the ~adjective ~thing/the ~colour ~thing/its ~thing",
    "some_things": "~number ~things/~few ~things/~adjective ~things/the ~things/~few ~adjective ~things",
    "a_matter": "the ~matter/the ~adjective ~matter/a ~matter/the ~thing ~matter/the ~goods ~matter/the ~sport ~matter",
    "people": "~jobs/~few ~jobs/~number ~jobs/the ~jobs/local ~jobs/angry ~jobs/~adjective ~jobs",
    "a_job": "a ~job/a retired ~job/the ~job/a former ~job/a ~adjective ~job/the former ~job",
    "claim": "the ~matter was ~adjective/~a_thing would be closed/there was no ~adjective ~matter/~worded",
    "tail": "~when/~reason/~when_then/~when ~reason/, ~people said/in ~month ~year",
    "share": "~number percent/~few percent/~few points/a ~ordinal",
}

TEMPLATES: dict[str, str] = {
    # Nobody is named.
    "none": """
~people left ~a_thing ~tail .
~a_thing was closed ~tail .
The ~matter over ~a_thing went on ~reason .
" ~worded , " ~a_job said ~when .
~goods rose ~share ~tail .
~people sold ~some_things ~reason .
^ ~people protest against ~matter
^ ~adjective ~thing reopens after ~matter
~number ~things were found near ~a_thing ~when .
~a_matter was decided ~reason .
~weekday was ~adjective and ~adjective .
Nobody from ~a_thing was ~feeling about ~a_matter .
In ~month , ~people voted on ~a_matter .
Police found ~some_things in ~a_thing ~when .
""",
    "a": """
@PER , ~a_job from @LOC , said ~claim .
@PER told ~people that ~claim .
@PER ~person_act ~tail .
@PER , ~age , ~person_verb ~when .
" ~worded , " said @PER , ~role of @ORG .
~a_job @PER ~person_verb ~reason .
@PER and his ~relative moved to @LOC ~when .
@COMPANY said it ~company_act ~tail .
@COMPANY ~company_act ~tail .
Shares of @COMPANY fell ~share to ~money ~when .
@COMPANY , which makes ~goods , ~company_act .
The ~role of @ORG , @PER , ~person_verb .
@INST said ~claim .
Workers at @COMPANY stopped work ~tail .
@COMPANY agreed to buy @COMPANY for ~money .
~people in @LOC saw ~a_thing ~when .
@CITY ~place_state ~tail .
@LAND ~land_act ~tail .
The ~place_noun of @CITY ~place_state ~when .
~people flew from @LOC to @LOC ~when .
The road to @CITY was ~adjective ~reason .
@TEAM ~team_act ~tail .
@TEAM beat @TEAM ~score ~when .
@PER played ~sport for @TEAM ~reason .
@WORK ~work_state ~tail .
The film @WORK ~work_state .
@PER read from @WORK ~when .
The @NAT minister met ~people in @CITY .
@NAT ~jobs bought ~some_things ~when .
@PER won the @EVENT ~when .
~people waited for the @EVENT ~reason .
^ @COMPANY ~company_act
^ ~people leave @CITY after ~matter
^ @PER wins ~matter against @COMPANY
^ @LAND ~land_act
@CITY , ~when : ~people marched to ~a_thing .
The ~matter was signed in @CITY by @PER .
@PER was born in @CITY in ~year .
""",
    "b": """
~when , @PER ~person_act .
It was ~a_job , @PER , who ~person_act ~tail .
Asked about ~a_matter , @PER ~person_verb and ~person_verb .
~a_job from @LOC named @PER ~person_act .
" ~worded , " @PER told ~people in @LOC .
@PER , whose ~relative was ~a_job , ~person_act .
Neither @PER nor his ~relative was ~feeling about ~a_matter .
~people said that @PER ~person_act and ~person_verb .
~when , @COMPANY ~company_act and ~company_act .
After ~a_matter , @COMPANY ~company_act .
Like @COMPANY , which ~company_act , ~people lost ~money .
~a_thing belongs to @COMPANY , the maker of ~goods .
The ~matter between ~people and @COMPANY ended ~when .
~people bought shares of @COMPANY for ~money .
@PER , the former ~role of @ORG , ~person_act .
~claim , said @INST ~when .
Although @CITY ~place_state , ~people stayed .
Between @CITY and @CITY ~people saw ~some_things .
In @CITY , where ~a_thing was closed , ~people waited ~reason .
~people who live in @LOC were ~feeling ~when .
~when , @LAND ~land_act and ~land_act .
As @LAND ~land_act , ~people left for @LAND .
~goods from @LAND cost ~money ~when .
@TEAM ~team_act before @TEAM ~team_act .
~when , @TEAM ~team_act .
For @TEAM , who ~team_act , @PER scored twice .
~when the film @WORK ~work_state .
@WORK , which ~work_state , was the work of @PER .
~people who had read @WORK were ~feeling .
The ~matter was led by ~few @NAT ~jobs .
~people and a @NAT ~job met ~when .
When the @EVENT was over , @PER ~person_verb .
The winner of the @EVENT was ~a_job from @CITY .
^ ~adjective ~matter in @CITY as @COMPANY ~company_act
^ Why @PER ~person_act
^ After ~matter , @LAND ~land_act
@COMPANY ~company_act , but its ~role , @PER , ~person_verb .
~some_things were sent to @CITY by ~people from @LAND .
""",
    "weak_a": """
@?ANY ~weak_state ~tail .
Nobody knew why @?ANY ~weak_state .
~people talked about @?ANY ~when .
~a_job said @?ANY ~weak_state ~reason .
The ~matter about @?ANY was ~adjective .
@?ACTOR and @?ACTOR agreed on ~a_matter ~when .
@?ACTOR won ~a_matter ~reason .
@?BODY had ~adjective ~things ~when .
^ @?ANY in ~adjective ~matter
^ ~adjective ~matter for @?ANY
~people blamed @?ANY for ~a_matter .
Without @?ANY , ~claim .
~people have known @?ANY for ~few years .
@?ANY , they said , ~weak_state .
@?ACTOR lost to @?ACTOR ~when .
" We like @?ANY , " said ~a_job .
""",
    "weak_b": """
~when @?ANY ~weak_state .
~people had not expected that @?ANY ~weak_state .
Both @?ANY and @?ANY were mentioned ~when_then .
For ~people , @?ANY is still ~adjective .
Everything about @?ANY seemed ~adjective ~reason .
^ ~people turn against @?ANY
^ Is @?ANY too ~adjective ?
What happened to @?ANY ~when ?
After ~a_matter , ~people praised @?ACTOR and @?ACTOR .
Not @?ANY but @?ANY ~weak_state .
" Who needs @?ANY ? " asked ~a_job ~when .
There was ~adjective news of @?ANY ~tail .
~people compared @?ANY with @?ANY ~reason .
Once again @?ANY ~weak_state , ~people said .
A ~matter with @?ACTOR is ~adjective , ~a_job said .
The name of @?ANY was on ~some_things .
It was @?ANY that ~weak_state ~when .
""",
    "c": """
@PER , who ~person_act , ~person_verb ~tail .
Mr @PER ~person_act ~tail .
His ~relative , @PER , ~person_act .
@PER hurt his ~body_part ~when .
~a_job @PER died of ~illness at the age of ~age .
@PER studied ~subject_of_study and became ~a_job .
" ~worded , " @PER said , and ~person_verb .
According to @PER , ~a_job , ~claim .
@PER 's ~relative ~person_act ~when .
@COMPANY 's profit rose ~share to ~money .
~goods maker @COMPANY ~company_act ~tail .
@COMPANY shares closed at ~money ~when .
Its rival @COMPANY ~company_act .
@COMPANY , based in @CITY , ~company_act .
Analysts expect @COMPANY to report ~money ~when .
@COMPANY plc , the ~goods group , ~company_act ~reason .
A factory of @COMPANY in @CITY ~place_state .
Customers of @COMPANY paid ~money for ~some_things .
North of @CITY ~people found ~some_things .
The mayor of @CITY opened ~a_thing ~when .
The old town of @CITY ~place_state ~tail .
Trains to @CITY were late ~reason .
It rained in @CITY ~when .
@CITY 's ~thing ~place_state .
In downtown @CITY ~people sold ~some_things .
@CITY , in the ~direction of @LAND , ~place_state .
The government of @LAND ~land_act ~tail .
@LAND 's army ~land_act ~when .
~people crossed the border into @LAND ~when .
Exports from @LAND to @LAND fell ~share .
@TEAM striker @PER hurt his ~body_part .
The coach of @TEAM , @PER , ~person_verb ~when .
@TEAM : ~score at home .
Fans of @TEAM cheered as @TEAM ~team_act .
~sport club @TEAM ~team_act ~tail .
Readers of @WORK liked the ~ordinal chapter .
The novel @WORK by @PER ~work_state .
A copy of @WORK was sold for ~money .
@WORK , a play about ~a_job , ~work_state .
The author of @WORK ~person_act ~when .
@NAT troops left ~a_thing ~when .
The @NAT currency fell ~share ~tail .
Tickets for the @EVENT cost ~money .
The ~ordinal @EVENT was held in @CITY ~when .
@INST in @CITY hired ~people ~when .
""",
}
