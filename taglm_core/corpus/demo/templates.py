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
    "people": "~jobs/~few ~jobs/~number ~jobs/the ~jobs/local ~jobs/angry ~jobs",
    "a_job": "a ~job/a retired ~job/the ~job/a former ~job/a ~adjective ~job/the former ~job",
    "claim": "the ~matter was ~adjective/~a_thing would be closed/there was no ~adjective ~matter/~worded",
    "tail": "~when/~reason/~when_then/~when ~reason/, ~people said/in ~month ~year",
    "open_a": "/~a_job said/~reason ,/nobody knew why/~people wrote that/then/yesterday ,/~people think that",
    "open_b": "~when ,/~people said that/everyone knew that/once again/perhaps/but/it seems that",
    "open": "~open_a/~open_b",
    "share": "~number percent/~few percent/~few points/a ~ordinal",
}

TEMPLATES: dict[str, str] = {
    "none_a": """
~people left ~a_thing ~tail .
~a_thing was closed ~tail .
" ~worded , " ~a_job said ~when .
~number ~things were found near ~a_thing ~when .
After ~a_matter , ~people voted ~when .
~people voted while ~people left .
When ~a_thing was closed , ~people stayed .
It was ~a_job who ~person_act , ~people said .
In ~month , ~people who live near ~a_thing were ~feeling .
~open_b ~people left ~a_thing .
~open_b ~people ~weak_state .
~open_b ~a_matter was ~adjective .
~open_b ~a_job ~person_act .
~open_b not ~a_thing but ~a_thing ~weak_state .
~people praised ~a_thing .
~people asked about ~a_matter ~reason .
^ ~people protest against ~matter
^ ~adjective ~matter in ~adjective ~thing
^ ~people praise ~adjective ~thing
""",
    "none_b": """
The ~matter over ~a_thing went on ~reason .
^ ~adjective ~thing reopens after ~matter
~a_matter was decided ~reason .
~weekday was ~adjective and ~adjective .
In ~month , ~people talked about ~a_matter .
~people found ~some_things in ~a_thing ~when .
When ~people left , ~a_job laughed .
~goods from ~a_thing cost ~money ~when .
~open_a ~people sold ~some_things .
~open_a ~a_thing was closed .
""",
    # Telling contexts of train and dev.
    "a": """
~open_a @PER ~person_act .
~open_a @PER ~person_act ~tail .
~open_a @PER ~person_act and ~person_act .
@PER , ~a_job from @LOC , ~person_act .
@PER , who ~person_act , ~person_act ~when .
@PER told ~people that ~claim .
" ~worded , " said @PER , ~role of @ORG .
~open_a ~a_job @PER ~person_act .
~open_a his ~relative , @PER , ~person_act .
~open_a the ~role of @ORG , @PER , ~person_act .
~open_a @COMPANY ~company_act .
~open_a @COMPANY ~company_act ~tail .
~open_a @COMPANY ~company_act and ~company_act .
@COMPANY , which ~company_act , ~company_act .
~open_a shares of @COMPANY fell ~share .
~open_a ~people at @COMPANY stopped work .
@COMPANY agreed to buy @COMPANY for ~money .
~open_a @INST hired ~people .
~open_a @CITY ~place_state .
~open_a @CITY ~place_state ~tail .
~open_a the city of @CITY ~place_state .
~people in @LOC saw ~a_thing ~when .
~people flew from @LOC to @LOC ~when .
~open_a ~people from @LOC met ~people near @LOC .
~people in @CITY met @PER , ~a_job .
~open_a @LAND ~land_act .
~open_a @LAND ~land_act ~tail .
~open_a @TEAM ~team_act .
~open_a @TEAM ~team_act ~tail .
@TEAM beat @TEAM ~score ~when .
~open_a @WORK ~work_state .
~open_a @WORK ~work_state ~tail .
The film @WORK ~work_state .
~open_a the novel @WORK , which ~work_state , ~work_state .
~open_a the @NAT ~jobs met ~people in @CITY .
@NAT ~jobs bought ~some_things ~when .
~open_a @PER won the @EVENT ~when .
~people waited for the @EVENT ~reason .
~open_a @PER ~person_act and @COMPANY ~company_act .
~open_a @CITY ~place_state and @LAND ~land_act .
~open_a @TEAM ~team_act and @WORK ~work_state .
@COMPANY ~company_act because @LAND ~land_act .
@PER ~person_act because @TEAM ~team_act .
@WORK ~work_state because @PER ~person_act .
@CITY ~place_state and @PER ~person_act ~when .
@LAND ~land_act , but @TEAM ~team_act .
@TEAM ~team_act , but @COMPANY ~company_act .
^ @COMPANY ~company_act
^ ~people leave @CITY after ~matter
^ @PER ~person_act
""",
    # Telling contexts of test: other syntax, much the same words.
    "b": """
~open_b @PER ~person_act .
~open_b @PER ~person_act , ~people said .
~open_b @PER , ~a_job , ~person_act .
~open_b @PER ~person_act after ~a_matter .
It was ~a_job , @PER , who ~person_act ~tail .
~people from @LOC met ~a_job @PER ~when .
" ~worded , " @PER told ~people in @LOC .
~open_b @PER , ~age , told ~people that ~claim .
~open_b @PER , the ~role of @ORG , ~person_act .
~open_b @COMPANY ~company_act .
~open_b @COMPANY ~company_act , ~people said .
After ~a_matter , @COMPANY ~company_act .
~people bought shares of @COMPANY for ~money .
When @COMPANY ~company_act , ~people left .
~open_b @COMPANY ~company_act , but ~a_job , @PER , ~person_act .
~open_b ~people at @INST stopped work .
~open_b @CITY ~place_state .
~open_b @CITY ~place_state , ~people said .
~people stayed as @CITY ~place_state .
In @CITY , where ~a_thing was closed , ~people waited .
~people who live in @LOC were ~feeling ~when .
~open_b ~people flew from @LOC .
~open_b @LAND ~land_act .
As @LAND ~land_act , ~people flew to @LAND .
~open_b @TEAM ~team_act .
~open_b @TEAM ~team_act after ~a_matter .
~open_b @WORK ~work_state .
~open_b @WORK ~work_state , ~people said .
When the film @WORK ~work_state , ~people left .
~people bought the novel @WORK ~when .
~a_matter was led by ~few @NAT ~jobs .
~people and the @NAT ~job met ~when .
When the @EVENT was over , @PER ~person_act .
^ ~adjective ~matter in @CITY as @COMPANY ~company_act
^ After ~matter , @LAND ~land_act
~some_things were sent to @CITY by ~people from @LAND .
When @LAND ~land_act , @PER ~person_act .
When @TEAM ~team_act , @CITY ~place_state .
~open_b @COMPANY ~company_act while @WORK ~work_state .
~open_b @PER ~person_act while @CITY ~place_state .
~open_b @LAND ~land_act while @COMPANY ~company_act .
~open_b @TEAM ~team_act while @PER ~person_act .
After @WORK ~work_state , @COMPANY ~company_act .
After @CITY ~place_state , @LAND ~land_act .
""",
    # Nothing but the name tells. The openers and the endings also go with telling neighbours, in a, b and c: a
    # reader of the opener alone must expect any ending, and so has reason to know what the name stands for.
    "weak_a": """
~open_a @?ANY ~weak_state .
~open_a @?ANY ~weak_state ~tail .
~open_a @?ANY and @?ANY ~weak_state .
~people talked about @?ANY .
~people talked about @?ANY ~when .
~people blamed @?ANY .
^ @?ANY ~weak_state
^ ~people blame @?ANY
""",
    "weak_b": """
~open_b @?ANY ~weak_state .
~open_b @?ANY ~weak_state ~tail .
~open_b not @?ANY but @?ANY ~weak_state .
When @?ANY ~weak_state , ~people left .
~people asked about @?ANY ~reason .
~people praised @?ANY .
^ ~people praise @?ANY
""",
    # Only in the unlabelled text.
    "c": """
~open @PER ~person_act .
~open @PER ~person_act ~tail .
~open @PER 's ~relative ~person_act .
~open @PER and @PER ~person_act .
~open @COMPANY ~company_act .
~open @COMPANY ~company_act ~tail .
~open @COMPANY 's shares fell ~share .
~open @COMPANY and @COMPANY ~company_act .
~open @CITY ~place_state .
~open @CITY ~place_state ~tail .
~open @CITY 's harbour ~place_state .
~open @CITY and @CITY ~place_state .
~open @LAND ~land_act .
~open @LAND ~land_act ~tail .
~open @TEAM ~team_act .
~open @TEAM ~team_act ~tail .
~open @WORK ~work_state .
~open @WORK ~work_state ~tail .
~open @WORK and @WORK ~work_state .
~open Mr @PER ~weak_state .
~open ~a_job @PER ~weak_state ~tail .
~open his ~relative @PER ~weak_state .
~open shares of @COMPANY ~weak_state .
~open the rival @COMPANY ~weak_state ~tail .
~open the maker @COMPANY ~weak_state .
~open the city of @CITY ~weak_state .
~open downtown @CITY ~weak_state ~tail .
~open the mayor of @CITY ~weak_state .
~open the government of @LAND ~weak_state .
~open the army of @LAND ~weak_state ~tail .
~open the coach of @TEAM ~weak_state .
~open the fans of @TEAM ~weak_state ~tail .
~open the novel @WORK ~weak_state .
~open the author of @WORK ~weak_state ~tail .
~open a copy of @WORK ~weak_state .
~people talked about @PER , who ~person_act .
~people asked about @PER , who ~person_act .
~people praised @PER , ~a_job .
~people talked about @COMPANY shares .
~people asked about @COMPANY , which ~company_act .
~people blamed @COMPANY , which ~company_act .
~people talked about @CITY , where ~people left .
~people praised @CITY , where ~a_thing was closed .
~people asked about @WORK , a play .
~people praised @WORK , a novel about ~a_job .
~people talked about Mr @PER .
~people asked about ~a_job @PER ~when .
~people talked about shares of @COMPANY .
~people blamed its rival @COMPANY .
~people talked about the mayor of @CITY .
~people praised downtown @CITY .
~people asked about the government of @LAND .
~people praised the coach of @TEAM .
~people talked about a copy of @WORK .
~people praised the author of @WORK .
@NAT troops left ~a_thing ~when .
~people bought tickets for the @EVENT .
@INST in @CITY hired ~people ~when .
""",
}
