"""School: students sit exams and owe fines; beside them books and meals. Students are known by numbers."""

from pydisp.holobench.database.drawn_columns import Cents, Name, Number, Refers, Whole, Word, Year
from pydisp.holobench.database.drawn_table import PEOPLE, DrawnTable

SCHOOL = (
    DrawnTable(
        "students",
        "student",
        4,
        (
            Number("student_no", "student number"),
            Name("name", is_key=False, **PEOPLE),
            Word("city", of="cities"),
            Whole("credits", low=10, high=400),
        ),
        (
            "Student {student_no} is {name} from {city} with {credits} credits.",
            "{name} from {city} is student {student_no} with {credits} credits.",
            "With {credits} credits, {name} from {city} is student {student_no}.",
        ),
    ),
    DrawnTable(
        "exams",
        "exam",
        1,
        (
            Number("exam_no", "exam number"),
            Refers("student_no", "student", table="students", kind="integer"),
            Word("subject", of="subjects"),
            Whole("score", low=10, high=500),
        ),
        (
            "Exam {exam_no}: student {student_no} scored {score} in {subject}.",
            "In {subject} exam {exam_no}, student {student_no} scored {score}.",
            "Student {student_no} got a score of {score} in {subject} exam {exam_no}.",
        ),
    ),
    DrawnTable(
        "fines",
        "fine",
        2,
        (
            Number("fine_no", "fine number"),
            Refers("student_no", "student", table="students", kind="integer"),
            Cents("amount", low=50, high=4999),
        ),
        (
            "Fine {fine_no}: student {student_no} owes {amount}.",
            "Student {student_no} owes {amount} by fine {fine_no}.",
            "Fine {fine_no} of {amount} is for student {student_no}.",
        ),
    ),
    DrawnTable(
        "books",
        "book",
        2,
        (
            Name("title", starts="title_starts", ends="title_ends"),
            Year("year", low=1950, high=2023),
            Whole("pages", low=40, high=990),
        ),
        (
            "Book {title} from {year} has {pages} pages.",
            "{title} is a book of {pages} pages from {year}.",
            "From {year}, the book {title} has {pages} pages.",
        ),
    ),
    DrawnTable(
        "meals",
        "meal",
        1,
        (Number("meal_no", "meal number"), Word("dish", of="dishes"), Cents("price", low=150, high=1999)),
        (
            "Meal {meal_no} was {dish} for {price}.",
            "Meal {meal_no} cost {price} and was {dish}.",
            "For {price}, meal {meal_no} was {dish}.",
        ),
    ),
)
