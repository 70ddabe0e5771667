"""Clinic: patients visit doctors; beside them machines and boxes of pills. People are known by their names."""

from pydisp.holobench.database.drawn_columns import Cents, Day, Name, Number, Refers, Whole, Word
from pydisp.holobench.database.drawn_table import PEOPLE, STAFF, DrawnTable

CLINIC = (
    DrawnTable(
        "doctors",
        "doctor",
        10,
        (Name("doctor", "name", **STAFF), Word("field", of="fields"), Whole("fee", low=30, high=400)),
        (
            "Doctor {doctor} treats {field} for a fee of {fee}.",
            "{doctor} is a doctor for {field} with a fee of {fee}.",
            "For {field}, doctor {doctor} has a fee of {fee}.",
        ),
    ),
    DrawnTable(
        "patients",
        "patient",
        4,
        (Name("patient", "name", **PEOPLE), Word("city", of="cities"), Cents("weight", low=3500, high=12999)),
        (
            "Patient {patient} from {city} weighs {weight} kg.",
            "{patient} is a patient in {city} and weighs {weight} kg.",
            "With {weight} kg, {patient} is a patient from {city}.",
        ),
    ),
    DrawnTable(
        "visits",
        "visit",
        1,
        (
            Number("visit_no", "visit number"),
            Refers("patient", table="patients"),
            Refers("doctor", table="doctors"),
            Whole("cost", low=20, high=900),
        ),
        (
            "Visit {visit_no}: {patient} saw {doctor} at a cost of {cost}.",
            "Visit {visit_no} by {patient} to {doctor} cost {cost}.",
            "{patient} paid {doctor} the cost {cost} of visit {visit_no}.",
        ),
    ),
    DrawnTable(
        "machines",
        "machine",
        2,
        (Number("machine_no", "machine number"), Word("type", of="machines"), Day("bought", "purchase date", low=2015, high=2024)),
        (
            "Machine {machine_no} is a {type}, bought {bought}.",
            "Bought {bought}, machine {machine_no} is a {type}.",
            "Machine {machine_no}, bought {bought}, is a {type}.",
        ),
    ),
    DrawnTable(
        "boxes",
        "box",
        1,
        (Number("box_no", "box number"), Word("drug", of="drugs"), Whole("pills", low=10, high=990)),
        (
            "Box {box_no} holds {pills} pills of {drug}.",
            "Box {box_no} of {drug} has {pills} pills.",
            "With {pills} pills, box {box_no} is for {drug}.",
        ),
    ),
)
