"""The built-in tools: complete, documented, with examples that run, and light to import."""

import importlib
import inspect
import subprocess
import sys

from pydisp.toolken.tools.arguments import bound, parse
from pydisp.toolken.tools.builtin import BUILTIN
from pydisp.toolken.tools.results import result_text
from pydisp.toolken.tools.tool import Tool
from pydisp.toolken.tools.tools import Tools
from pydisp.toolken.tools.worker import load

NAMES = "add subtract multiply divide power sqrt log ln lcm gcd remainder choose permute convert add_days days_between weekday look_up"


def test_the_tools_that_were_promised_are_there():
    assert BUILTIN.names == tuple(NAMES.split())


def test_signatures_are_those_of_the_functions():
    for tool in BUILTIN:
        parameters = inspect.signature(load(tool.function)).parameters.values()
        positional = [one for one in parameters if one.kind is not one.KEYWORD_ONLY]
        assert [(one.name, one.default is one.empty) for one in positional] == [(one.name, one.is_required) for one in tool.parameters]
        assert inspect.getdoc(load(tool.function))


def test_each_has_three_examples_or_more_that_run():
    for tool in BUILTIN:
        assert len({one.text for one in tool.examples}) >= 3
        for one in tool.examples:
            assert one.text.startswith("Question: ") and one.text.endswith("?\nAnswer:")
            assert result_text(load(tool.function)(**bound(tool, parse(one.arguments))))


def test_they_survive_json():
    assert Tools([Tool.from_dict(one.as_dict()) for one in BUILTIN]).digest == BUILTIN.digest


def test_nothing_heavy_is_imported():
    names = ["builtin", "calling", "worker", "definition", "tool_file", "results", "argument_prefix", "confinement"]
    code = "import sys, " + ", ".join(f"pydisp.toolken.tools.{name}" for name in names)
    code += "\nprint(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert importlib.import_module("pydisp.toolken.tools").__doc__
