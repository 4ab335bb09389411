"""The template NAME: what each sandbox of it has from its start on."""

from e2b import Template

# Each step is kept and found again by later builds: what changes often stands last.
template = Template().from_template("base").pip_install(["requests"]).set_workdir("/home/user")
