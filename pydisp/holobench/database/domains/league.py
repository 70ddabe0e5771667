"""Football league: clubs have players and matches; beside them referees and shirts. Clubs are known by their names."""

from pydisp.holobench.database.drawn_columns import Cents, Name, Number, Refers, Whole, Word
from pydisp.holobench.database.drawn_table import PEOPLE, STAFF, DrawnTable

LEAGUE = (
    DrawnTable(
        "clubs",
        "club",
        20,
        (Name("club", "name", starts="club_towns", ends="club_ends"), Word("color", of="colors"), Whole("members", low=100, high=9900)),
        (
            "Club {club} plays in {color} and has {members} members.",
            "{club} is a club in {color} with {members} members.",
            "With {members} members, the club {club} plays in {color}.",
        ),
    ),
    DrawnTable(
        "players",
        "player",
        1,
        (
            Name("player", "name", **PEOPLE),
            Refers("club", table="clubs"),
            Word("position", of="positions"),
            Whole("minutes", "minutes played", low=90, high=3400),
        ),
        (
            "Player {player} of {club} is a {position} with {minutes} minutes.",
            "{player} is a player of {club}, {position}, {minutes} minutes.",
            "With {minutes} minutes, {player} is a player and {position} of {club}.",
        ),
    ),
    DrawnTable(
        "matches",
        "match",
        2,
        (
            Number("match_no", "match number"),
            Refers("home", "home club", table="clubs"),
            Refers("guest", "guest club", table="clubs", besides="home"),
            Whole("visitors", low=200, high=9900),
        ),
        (
            "Match {match_no}: {home} against guest {guest}, {visitors} visitors.",
            "Match {match_no} of {home} with guest {guest} had {visitors} visitors.",
            "{home} had guest {guest} and {visitors} visitors in match {match_no}.",
        ),
    ),
    DrawnTable(
        "referees",
        "referee",
        3,
        (Name("referee", "name", **STAFF), Word("country", of="countries"), Whole("wage", low=200, high=2900)),
        (
            "Referee {referee} from {country} earns {wage}.",
            "{referee} is a referee from {country} and earns {wage}.",
            "From {country}, the referee {referee} earns {wage}.",
        ),
    ),
    DrawnTable(
        "shirts",
        "shirt",
        1,
        (Number("shirt_no", "shirt number"), Word("color", of="colors"), Cents("price", low=500, high=9999)),
        (
            "Shirt {shirt_no} in {color} costs {price}.",
            "The {color} shirt {shirt_no} costs {price}.",
            "For {price}, shirt {shirt_no} is {color}.",
        ),
    ),
)
