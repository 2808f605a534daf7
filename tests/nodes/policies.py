"""What tests of verdicts ask for in the place of the default policy."""

from padflow.nodes.policy import MandatoryGroup

ANY_NETWORK = MandatoryGroup(("depth", "patch", "context"), "no_appearance_evidence")
"""Any of the networks will do for LIVE, where the default policy wants ``context``."""
