"""Railway: trains have tickets and delays; beside them bridges and wagons. Trains are known by numbers."""

from pydisp.holobench.database.drawn_columns import Cents, Name, Number, Refers, Whole, Word, Year
from pydisp.holobench.database.drawn_table import DrawnTable

RAILWAY = (
    DrawnTable(
        "trains",
        "train",
        5,
        (Number("train_no", "train number"), Word("destination", of="cities"), Whole("seats", low=60, high=990)),
        (
            "Train {train_no} to {destination} has {seats} seats.",
            "Train {train_no} with {seats} seats goes to {destination}.",
            "To {destination} goes train {train_no} with {seats} seats.",
        ),
    ),
    DrawnTable(
        "tickets",
        "ticket",
        1,
        (
            Number("ticket_no", "ticket number"),
            Refers("train_no", "train", table="trains", kind="integer"),
            Word("fare", of="fares"),
            Whole("price", low=5, high=300),
        ),
        (
            "Ticket {ticket_no} for train {train_no}, {fare} fare, cost {price}.",
            "The {fare} ticket {ticket_no} for train {train_no} cost {price}.",
            "For {price}, {fare} ticket {ticket_no} is for train {train_no}.",
        ),
    ),
    DrawnTable(
        "delays",
        "delay",
        3,
        (
            Number("delay_no", "delay number"),
            Refers("train_no", "train", table="trains", kind="integer"),
            Word("cause", of="causes"),
            Whole("minutes", low=2, high=240),
        ),
        (
            "Delay {delay_no}: train {train_no} lost {minutes} minutes to {cause}.",
            "Delay {delay_no} by {cause} cost train {train_no} {minutes} minutes.",
            "Train {train_no} lost {minutes} minutes to {cause} in delay {delay_no}.",
        ),
    ),
    DrawnTable(
        "bridges",
        "bridge",
        2,
        (
            Name("bridge", "name", starts="bridge_starts", ends="bridge_ends"),
            Year("year", low=1850, high=2020),
            Whole("length", low=20, high=1900),
        ),
        (
            "Bridge {bridge} from {year} is {length} meters long.",
            "{bridge} is a bridge of {length} meters from {year}.",
            "From {year}, the bridge {bridge} is {length} meters long.",
        ),
    ),
    DrawnTable(
        "wagons",
        "wagon",
        1,
        (Number("wagon_no", "wagon number"), Word("cargo", of="cargoes"), Cents("tons", low=500, high=9999)),
        (
            "Wagon {wagon_no} carries {tons} tons of {cargo}.",
            "Wagon {wagon_no} is full of {cargo}, {tons} tons.",
            "With {tons} tons, wagon {wagon_no} carries {cargo}.",
        ),
    ),
)
