"""`pydisp env`: versions, devices and which implementations will run."""

import typer

from pydisp.commands.options import Json
from pydisp.commands.output import begin, print_json


def env(ctx: typer.Context, as_json: Json = False) -> None:
    """Versions, devices, instruction sets, and what runs each op."""
    begin(ctx)
    from pydisp.environment import environment

    facts = environment()
    if as_json:
        print_json(facts)
        return
    for section, values in facts.items():
        typer.echo(f"{section}:")
        for name, value in values.items():
            shown = ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
            typer.echo(f"  {name}: {', '.join(shown) if isinstance(shown, list) else shown}")
