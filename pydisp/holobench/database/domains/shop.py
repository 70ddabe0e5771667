"""Shop: customers order products; beside them employees and bills. Customers and products are known by their names."""

from pydisp.holobench.database.drawn_columns import Cents, Name, Number, Refers, Whole, Word
from pydisp.holobench.database.drawn_table import PEOPLE, STAFF, DrawnTable

SHOP = (
    DrawnTable(
        "customers",
        "customer",
        4,
        (Name("customer", "name", **PEOPLE), Word("city", of="cities"), Whole("points", low=10, high=990)),
        (
            "Customer {customer} from {city} has {points} points.",
            "{customer} is a customer in {city} with {points} points.",
            "With {points} points, {customer} is a customer from {city}.",
        ),
    ),
    DrawnTable(
        "products",
        "product",
        5,
        (
            Name("product", "name", starts="thing_looks", ends="things"),
            Word("department", of="departments"),
            Whole("stock", low=5, high=950),
        ),
        (
            "Product {product} is in {department}, stock {stock}.",
            "The {department} department has product {product}, stock {stock}.",
            "With a stock of {stock}, {product} is a product in {department}.",
        ),
    ),
    DrawnTable(
        "orders",
        "order",
        1,
        (
            Number("order_no", "order number"),
            Refers("customer", table="customers"),
            Refers("product", table="products"),
            Whole("price", low=5, high=900),
        ),
        (
            "Order {order_no}: {customer} bought {product} for {price}.",
            "Order {order_no}: {customer} paid {price} for {product}.",
            "{customer} got {product} for {price} in order {order_no}.",
        ),
    ),
    DrawnTable(
        "employees",
        "employee",
        2,
        (Name("employee", "name", **STAFF), Word("job", of="jobs"), Whole("salary", low=1500, high=6500)),
        (
            "Employee {employee} is a {job} and earns {salary}.",
            "{employee} earns {salary} as an employee, working as {job}.",
            "Working as {job}, employee {employee} earns {salary}.",
        ),
    ),
    DrawnTable(
        "bills",
        "bill",
        1,
        (Number("bill_no", "bill number"), Word("purpose", of="bills"), Cents("amount", low=1000, high=99999)),
        (
            "Bill {bill_no} for {purpose} is {amount}.",
            "Bill {bill_no} asks {amount} for {purpose}.",
            "For {purpose}, bill {bill_no} is {amount}.",
        ),
    ),
)
