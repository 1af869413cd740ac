"""Limits of a context's sessions: the sandbox's defaults, or those that test data set for the context."""

from sandbox.service import Sandbox
from sandbox.state.records.common import Identifier
from sandbox.state.records.limits import ContextLimits, SessionLimits

_COLLECTIVE = 500


def limits_of(sandbox: Sandbox, context: Identifier) -> ContextLimits:
    """Return a context's current limits. Source: ksef-docs, limity.md; GET /limits/context."""
    default = SessionLimits(sandbox.options.max_invoices)
    return sandbox.state.context_limits.get(context) or ContextLimits(default, default, _COLLECTIVE)
