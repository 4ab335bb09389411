"""Builds the template on the server that E2B_API_URL and E2B_API_KEY name."""

from e2b import Template, default_build_logger
from template import template

Template.build(template, "NAME", on_build_logs=default_build_logger())
