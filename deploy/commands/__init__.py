"""One module per subcommand: ``add_arguments(parser)`` and ``run(args) -> exit code``.

Modules import what is heavy inside ``run``, so that ``padflow --help`` stays quick.
"""
