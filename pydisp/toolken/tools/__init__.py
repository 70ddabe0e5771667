"""Tools: what they are, how their arguments are read, how they are called without harm, and how their results become text.

tool, tools             the values
definition, tool_file   a tool of a Python function or a JSON schema; a set of tools from a file
limits, arguments       what a call may use; what stands between its brackets
argument_prefix         beginnings of calls, for decoding that is held to a signature; with number_prefix and string_prefix
plain_prefix            the same for calls that are to be written: one spelling of each
calling                 a call from here, as a value
worker, confinement     the process that runs it, and what that process gives up first
results                 a value as text, and text that can never become a special token
builtin                 the built-in tools: arithmetic, units, dates, lookup (data/tables.json)
"""
