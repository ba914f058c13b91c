"""`bursar policy schema`: the JSON Schema of policy files, for editors."""

from __future__ import annotations

import click


@click.command(name="schema")
def command() -> None:
    """Print the JSON Schema of policy files, for editors.

    An editor with YAML support (yaml-language-server) completes and checks a file whose first line names the schema:

    \b
      # yaml-language-server: $schema=policy.schema.json

    \b
    For example:
      bursar policy schema > policies/policy.schema.json
    """
    from ledger.services.policies.document_schema import published_text

    click.echo(published_text(), nl=False)
