"""Evaluation: what tools change, measured with the group of problems as replicate.

Values, which need no model:
    `estimates` shares and differences with intervals over groups of problems and over seeds · `selection` the tool that is chosen where the
    text so far is the gold one · `answers` a generated answer against the gold one · `outcomes` what became of one problem under one mode and
    seed · `journal` outcomes of a run that goes on after a stop · `measured` one measure item by item · `figures` the figures of each mode ·
    `claims` what is said of tools, tried on them · `calibration_curves` confidence against what is right

Result:
    `evaluated` the value and its JSON · `report` its page, with `pictures`, `confidence_sections`, `example_traces`, `method_section`, `report_words`

Run:
    `scoring` first and second scores at the positions of test problems · `answering` written answers · `evaluating` both, for every mode and seed
"""
